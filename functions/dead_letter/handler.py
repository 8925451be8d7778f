"""Exposes the function to the platforms that load it."""

from functions._runtime.expose import expose
from functions.dead_letter.function import dead_letter

new = expose(dead_letter)
