"""Exposes the function to the platforms that load it."""

from functions._runtime.expose import expose
from functions.publish_telemetry.function import publish_telemetry

lambda_handler, new = expose(publish_telemetry)
