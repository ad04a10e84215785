"""How a step is made: a model trained, a test part predicted."""
