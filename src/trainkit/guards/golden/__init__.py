"""Training is bitwise what it was: against a stored golden, or the baseline where that says nothing."""

from trainkit.guards.golden.check import SETTINGS, check

__all__ = ["SETTINGS", "check"]
