"""Base models: where they come from, checks without their weights, and quantised ones."""
