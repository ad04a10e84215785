"""A laboratory for machines without pretrained weights: a small world, described in made-up languages.

One source language and some target languages describe the same deterministic world. Tasks, an exact and a noisy
translator, and a pre-training text come from it, and small models of the real architectures are trained on that text.
"""
