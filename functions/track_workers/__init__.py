"""Keeps the registry of workers: registrations, signs of life, silence."""
