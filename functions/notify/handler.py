"""Exposes the function to the platforms that load it."""

from functions._hosts.entry import expose
from functions.notify.function import notify

lambda_handler, new = expose(notify)
