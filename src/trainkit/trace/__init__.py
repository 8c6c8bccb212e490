"""Recording one training run, without an edit of it, and comparing two recordings bit by bit.

`preload`, `arm`, `record` and what they import relatively run inside the user's process, where this package
is loaded as `_trainkit_trace` (the user's project may be trainkit itself, at another revision): they bring
the standard library and torch along, nothing else. The other modules read what they wrote.
"""
