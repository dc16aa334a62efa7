"""Storage: rows and images on disk, each file written whole or not at all."""
