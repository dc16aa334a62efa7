"""Sampling: workers that draw batches of jobs, executors, and the runner."""
