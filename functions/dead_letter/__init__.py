"""Keeps what could not be delivered, for people to see and replay."""
