"""Records: what a store keeps, and the values that they are made of."""
