"""Texts into other languages: one protocol, the engines behind it, and the store that keeps the translations."""
