"""What a recipe will cost on a graphics card, by counting operations: nothing is measured, no weights are needed."""
