"""What a recipe says, read strictly and checked before anything is opened; nothing here loads torch."""
