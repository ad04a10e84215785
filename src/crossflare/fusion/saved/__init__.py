"""Adapters on disk and on the hub: saved, checked in full, loaded; and their README."""
