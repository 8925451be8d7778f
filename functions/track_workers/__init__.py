"""Keeps the registry of workers: registrations, heartbeats, silence."""
