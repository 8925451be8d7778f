"""Learns from flows that have ended, and keeps the models that say how long work takes."""
