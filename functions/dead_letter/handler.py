"""Exposes the function to the platforms that load it."""

from functions._hosts.entry import expose
from functions.dead_letter.function import dead_letter

lambda_handler, new = expose(dead_letter)
