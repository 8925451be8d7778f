"""Exposes the function to the platforms that load it."""

from functions._hosts.entry import expose
from functions.reconcile_resources.function import reconcile_resources

lambda_handler, new = expose(reconcile_resources)
