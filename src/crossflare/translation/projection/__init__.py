"""Spans of a text (answers, names) carried into its translation, and the way in which each was found."""
