"""Exchange: images imported from elsewhere, and runs exported as data sets."""
