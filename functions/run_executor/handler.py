"""Exposes the function to the platforms that load it."""

from functions._hosts.entry import expose
from functions.run_executor.function import run_executor

lambda_handler, new = expose(run_executor)
