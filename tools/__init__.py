"""Generates the parts of the pages that repeat what is said elsewhere: `python -m tools.docs`."""
