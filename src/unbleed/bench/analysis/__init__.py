"""Analysis: bootstrap intervals, summaries, and comparisons of runs."""
