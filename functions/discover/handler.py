"""Exposes the function to the platforms that load it."""

from functions._hosts.entry import expose
from functions.discover.function import discover

lambda_handler, new = expose(discover)
