"""Regression on noisy data."""
