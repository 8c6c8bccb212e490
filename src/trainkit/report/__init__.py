"""Verdicts as text, JSON and JUnit XML: readers of values, who know nothing of guards."""
