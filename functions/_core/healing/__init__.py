"""Healing: playbooks, what they do about an incident, and the records of it."""
