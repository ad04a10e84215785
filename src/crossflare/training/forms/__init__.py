"""How a task is given to a model and its answer read: with a head, in words, and by other methods' ways."""
