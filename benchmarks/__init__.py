"""Measurements of speed and accuracy: `python -m benchmarks.NAME`. Each prints a table, or a record (`--json`)."""
