"""How a task is put to a model, and its answer read: with a head, in words, and by the rivals' ways."""
