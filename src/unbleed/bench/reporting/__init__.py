"""Reporting: results as text, tables, plots and HTML pages."""
