"""The report: one page, in one file, about one study."""
