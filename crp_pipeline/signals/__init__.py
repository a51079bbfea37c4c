"""The champion's decision on the newest closed bar, how it is read, and what became of it."""
