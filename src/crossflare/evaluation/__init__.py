"""Predictions, their scores, and how certain the scores are."""
