"""C5: follow tickets and flows to their end."""
