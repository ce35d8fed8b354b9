"""Experiment runner for a deep-learning midterm whose answers can be checked."""

__version__ = "0.1.0"
