"""Suites: named lists of prompts, each with what is expected in its picture.

Some are made by a rule from a fixed seed, so that a name means the same prompts everywhere; some are published by others and
read from files, which are known by their hashes; and any file with prompts is one.
"""

from .catalogue import Listed, listing, suite, suite_names
from .files import download, suite_folder

__all__ = ["Listed", "download", "listing", "suite", "suite_folder", "suite_names"]
