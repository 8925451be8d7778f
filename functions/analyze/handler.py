"""Exposes the function to the platforms that load it."""

from functions._hosts.entry import expose
from functions.analyze.function import analyze

lambda_handler, new = expose(analyze)
