"""Decisions: how they are read, checked and admitted (C1)."""
