"""The use of a trained adapter: predictions from the adapter's folder alone."""
