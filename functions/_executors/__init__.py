"""Executors: tickets that become jobs of other programs and services, which a worker starts, follows and cancels."""
