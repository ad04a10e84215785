"""What a row is, how rows are read, and which data sets have a name here."""
