"""Recording one training run, without an edit of it, and comparing two recordings bit by bit.

`preload`, `record` and `digest` run inside the user's process: they bring the standard library and
torch along, nothing else, and import each other relatively, because there this package is loaded as
`_trainkit_trace` (the user's project may be trainkit itself, at another revision).
"""
