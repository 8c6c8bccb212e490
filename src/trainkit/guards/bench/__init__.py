"""The bench guard: the project's benchmarks on both revisions in lock-step, each with an interval."""

from trainkit.guards.bench.check import SETTINGS, BenchSettings, check

__all__ = ["SETTINGS", "BenchSettings", "check"]
