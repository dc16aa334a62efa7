"""Sampling: workers that turn jobs into images, executors that run workers, and the runner."""
