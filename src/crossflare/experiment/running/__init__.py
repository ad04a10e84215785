"""Running all steps of a recipe: by one process or many, killed anywhere and taken up again."""
