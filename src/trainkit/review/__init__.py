"""What stands in a tree of Python sources, read without importing it: complexity, clones, names, habits.

`sources.read_sources` gives each file's facts, cached by content; the other modules answer questions of them.
"""
