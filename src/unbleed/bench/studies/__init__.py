"""Studies: what separates images that miss an entity from the others."""
