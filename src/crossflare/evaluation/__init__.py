"""What a model predicted, how well, and how sure that is."""
