"""Exposes the function to the platforms that load it."""

from functions._hosts.entry import expose
from functions.enforce_freezes.function import enforce_freezes

lambda_handler, new = expose(enforce_freezes)
