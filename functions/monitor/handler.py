"""Exposes the function to the platforms that load it."""

from functions._runtime.expose import expose
from functions.monitor.function import monitor

lambda_handler, new = expose(monitor)
