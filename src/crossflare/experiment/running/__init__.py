"""Running all steps of a recipe, in one process or many; a run that was killed can go on."""
