"""What a FLARE step costs, measured side by side: `make bench`."""
