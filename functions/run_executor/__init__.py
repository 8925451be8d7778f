"""Does tickets by executors whose jobs live elsewhere."""
