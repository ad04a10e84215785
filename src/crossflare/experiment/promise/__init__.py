"""What is refused before anything is made, in the same words by validate, by a dry run and by run."""
