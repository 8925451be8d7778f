"""Exposes the function to the platforms that load it."""

from functions._hosts.entry import expose
from functions.generate_tickets.function import generate_tickets

lambda_handler, new = expose(generate_tickets)
