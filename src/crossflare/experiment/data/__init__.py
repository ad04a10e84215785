"""The rows of an experiment: read, translated, and changed for controls."""
