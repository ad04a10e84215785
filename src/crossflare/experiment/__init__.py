"""Experiments: what a recipe runs, what is still missing, and the records of what was made."""
