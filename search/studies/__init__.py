"""Studies and processes: databases that workers share, plans of trials, the pool of workers. Knows no network."""
