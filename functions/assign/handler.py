"""Exposes the function to the platforms that load it."""

from functions._runtime.expose import expose
from functions.assign.function import assign

new = expose(assign)
