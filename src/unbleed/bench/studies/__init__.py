"""Studies: what distinguishes images that miss an entity from the others."""
