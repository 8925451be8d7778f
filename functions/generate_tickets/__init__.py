"""C2: cut a plan into execution tickets."""
