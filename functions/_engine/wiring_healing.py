"""The function that heals incidents, as the engine calls it."""

from functions.heal_incident.function import heal_incident

__all__ = ["heal_incident"]
