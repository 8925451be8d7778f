"""The two state machines: their tables, and how an outcome becomes a change set (C4, C5)."""
