"""Exposes the function to the platforms that load it."""

from functions._hosts.entry import expose
from functions.calculate_budgets.function import calculate_budgets

lambda_handler, new = expose(calculate_budgets)
