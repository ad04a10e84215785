"""The rows of an experiment: read, translated, and changed whole for controls."""
