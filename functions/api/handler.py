"""Exposes the function to the platforms that load it."""

from functions._hosts.entry import expose

lambda_handler, new = expose("api")
