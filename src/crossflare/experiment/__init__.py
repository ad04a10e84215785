"""What is to be run, what is still missing, and the record of what was made."""
