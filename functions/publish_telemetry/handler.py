"""Exposes the function to the platforms that load it."""

from functions._hosts.entry import expose
from functions.publish_telemetry.function import publish_telemetry

lambda_handler, new = expose(publish_telemetry)
