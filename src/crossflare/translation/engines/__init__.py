"""Translation engines: one protocol, a module for each engine, and the table of their names."""
