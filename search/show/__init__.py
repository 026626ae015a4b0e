"""What a person sees: the live screen, tables, summaries, verdicts, plots and cards."""
