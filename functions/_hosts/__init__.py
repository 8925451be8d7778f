"""The platforms that the functions run on: how each is put together, and the edge where its events come in."""
