"""Exposes the function to the platforms that load it."""

from functions._hosts.entry import expose
from functions.track_workers.function import track_workers

lambda_handler, new = expose(track_workers)
