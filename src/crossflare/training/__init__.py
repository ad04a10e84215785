"""From labelled rows to a trained model: padding, order of batches, the recipe, and checkpoints that survive a kill."""
