"""Exposes the function to the platforms that load it."""

from functions._runtime.expose import expose
from functions.track_workers.function import track_workers

new = expose(track_workers)
