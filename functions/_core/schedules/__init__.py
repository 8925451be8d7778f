"""Schedules: their moments, their due runs, and their records."""
