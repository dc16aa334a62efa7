"""Training of the embedded models and of the oracle: scenes, latents, a resumable loop."""
