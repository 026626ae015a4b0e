"""Evidence and what it proves: the records, their statistics, attempts and reproductions. Pure values."""
