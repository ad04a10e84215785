"""A trained adapter at work: the rows of a file, answered by an adapter's folder alone."""
