"""The embedded model: a complete latent diffusion model of scenes made of emoji, small enough for a laptop's CPU."""

from pathlib import Path

WEIGHTS = Path(__file__).parent / "weights"
"""The folder of the shipped pipeline; any program that knows diffusers loads it."""
