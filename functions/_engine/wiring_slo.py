"""The functions behind budgets and freezes, as the engine calls them."""

from functions.calculate_budgets.function import Calculated, calculate_budgets, recalculate
from functions.enforce_freezes.function import enforce_freezes, resolve

__all__ = ["Calculated", "calculate_budgets", "enforce_freezes", "recalculate", "resolve"]
