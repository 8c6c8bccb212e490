"""Prove that a refactor of training code changed nothing but the code."""

__version__ = "0.1.0"
