"""Begins and ends freezes as budgets ask for them."""
