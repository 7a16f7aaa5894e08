"""Importing scikit-learn draws from Python's global generator: here rather than in a test."""

import sklearn.linear_model  # noqa: F401
