"""Checks before anything is made; validate, a dry run and run give the same messages."""
