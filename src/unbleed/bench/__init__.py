"""Benchmarks: sample the prompts of a suite with several methods, score the images, compare the methods with intervals."""
