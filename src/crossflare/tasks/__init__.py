"""What a row is, how rows are read, and which named sets are known."""
