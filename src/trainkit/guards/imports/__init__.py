"""What comes along when a module is imported: forbidden modules, budgets, and who brought them."""

from trainkit.guards.imports.check import SETTINGS, check

__all__ = ["SETTINGS", "check"]
