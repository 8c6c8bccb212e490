"""Runs."""
def find_runs(sources):
    return []
