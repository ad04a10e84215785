"""Files on the disk: written whole or not at all, locked, cached, and never trusted before they are checked."""
