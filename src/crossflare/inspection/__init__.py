"""A look at the rows of a recipe or a file before any training."""
