"""Arrow columns of raw logs as texts, numbers, times and lists."""
