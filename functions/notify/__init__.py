"""Brings events to the webhooks that have subscribed to them."""
