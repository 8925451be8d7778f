"""Calculates the error budgets of all SLOs."""
