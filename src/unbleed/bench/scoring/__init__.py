"""Scoring: metrics run over images, their cached output, and results per image."""
