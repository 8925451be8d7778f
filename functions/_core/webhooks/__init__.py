"""Subscriptions to events, and their deliveries to webhooks."""
