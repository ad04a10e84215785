"""From labelled rows to a trained model: padding, batch order, the training recipe, checkpoints that survive a kill."""
