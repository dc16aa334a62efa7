"""Exchange: import of existing images, export as a data set."""
