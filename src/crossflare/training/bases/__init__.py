"""Base models: where they come from, what is asked of them without weights, and in fewer bits."""
