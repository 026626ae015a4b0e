"""The command line: a file per command, which calls the library with what was typed, and prints."""
