"""Exposes the function to the platforms that load it."""

from functions._runtime.expose import expose

lambda_handler, new = expose("api")
