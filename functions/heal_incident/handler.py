"""Exposes the function to the platforms that load it."""

from functions._hosts.entry import expose
from functions.heal_incident.function import heal_incident

lambda_handler, new = expose(heal_incident)
