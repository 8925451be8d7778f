"""C3: find workers that can do tickets."""
