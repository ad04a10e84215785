"""Spans of a text (answers, names) carried into its translation, and how each one got there."""
