"""Exposes the function to the platforms that load it."""

from functions._hosts.entry import expose
from functions.assign.function import assign

lambda_handler, new = expose(assign)
