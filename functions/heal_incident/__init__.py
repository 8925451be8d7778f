"""Heals incidents by playbooks."""
