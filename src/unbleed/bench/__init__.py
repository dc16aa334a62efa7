"""The benchmark runner: suites of prompts, pictures that are drawn once, judged, and compared with intervals."""
