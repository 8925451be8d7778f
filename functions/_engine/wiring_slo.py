"""The functions behind budgets and freezes, as the engine calls them."""

from functions.calculate_budgets.function import Calculated, calculate_budgets, recalculate
from functions.enforce_freezes.function import enforce_freezes, resolve
from functions.reconcile_resources.function import reconcile_resources

__all__ = ["Calculated", "calculate_budgets", "enforce_freezes", "recalculate", "reconcile_resources", "resolve"]
