"""Hands the hosts the api function, apart from the others: its web framework is slow to import."""

from functions.api.access import REPORTS
from functions.api.analyst_state import AnalystState
from functions.api.app import create_app
from functions.api.ingress import take
from functions.api.reports import take_report
from functions.api.services import AlertServices, ApiServices, Calls, PassportSigner, WebhookServices

__all__ = [
    "REPORTS",
    "AlertServices",
    "AnalystState",
    "ApiServices",
    "Calls",
    "PassportSigner",
    "WebhookServices",
    "create_app",
    "take",
    "take_report",
]
