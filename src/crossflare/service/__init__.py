"""The HTTP service: requests of many clients, their translations, and batches that they share at the model."""
