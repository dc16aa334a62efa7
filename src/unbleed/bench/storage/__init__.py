"""Storage: rows and images on disk, each written once and whole."""
