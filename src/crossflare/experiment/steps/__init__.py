"""The steps of an experiment: models and predictions, each with its id, its place and what it needs."""
