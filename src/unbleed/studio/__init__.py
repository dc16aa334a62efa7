"""The studio: a local page on which a prompt is typed, read, guided and compared. `unbleed studio` serves it."""
