"""Scoring: metrics run over images, their stored outputs, and results per image."""
