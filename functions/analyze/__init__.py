"""Finds problems in the history of flows, and makes insights of them."""
