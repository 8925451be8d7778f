"""Explanations: why a flow or a ticket is where it is, in sentences."""
