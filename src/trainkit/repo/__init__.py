"""A revision as a tree on disk, and programs run in it whose own sources are proven to be loaded."""
