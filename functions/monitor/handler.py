"""Exposes the function to the platforms that load it."""

from functions._hosts.entry import expose
from functions.monitor.function import monitor

lambda_handler, new = expose(monitor)
