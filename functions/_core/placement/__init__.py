"""Placement: which worker gets which ticket, and when (C3)."""
