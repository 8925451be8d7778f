"""Lets SLOs and freeze policies be as their documents say."""
