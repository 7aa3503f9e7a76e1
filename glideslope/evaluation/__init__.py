"""Scores policies, reports the results, and compares runs."""
