"""One training run: its settings, its loop, its checkpoints, and what several processes share."""
