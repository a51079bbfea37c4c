"""A registered version made again from what it names as its ingredients."""
