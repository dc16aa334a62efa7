"""Blinded pairwise ratings of a run's images by people: the study, the server of its page, and the report."""
