"""Exposes the function to the platforms that load it."""

from functions._hosts.entry import expose
from functions.validate.function import validate

lambda_handler, new = expose(validate)
