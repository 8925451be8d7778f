"""Records: the data that a store keeps, and the values that they are made of."""
