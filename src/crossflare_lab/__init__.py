"""A laboratory for where no pretrained weights exist: a small world, written out in made-up languages.

One source language and some target languages tell of the same deterministic world; tasks, an exact and a noisy
translator, and a pre-training text come from it, and small models of the real architectures are trained on that text.
"""
