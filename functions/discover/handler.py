"""Exposes the function to the platforms that load it."""

from functions._runtime.expose import expose
from functions.discover.function import discover

lambda_handler, new = expose(discover)
