"""Exposes the function to the platforms that load it."""

from functions._hosts.entry import expose
from functions.enforce_sla.function import enforce_sla

lambda_handler, new = expose(enforce_sla)
