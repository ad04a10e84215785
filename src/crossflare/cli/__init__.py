"""The command line: thin verbs over the rest of the package."""

from crossflare.cli.main import main

__all__ = ["main"]
