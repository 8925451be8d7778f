"""C4: give tickets to workers."""
