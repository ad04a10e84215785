"""Recipes, read strictly and checked before anything is opened; nothing here loads torch."""
