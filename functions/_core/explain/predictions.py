"""What a model has predicted of a flow or a ticket, beside what really happened, in words."""

from functions._core.explain.wording import plain, span
from functions._core.planning.slack import closed_at
from functions._core.records.models import Flow, Ticket
from functions._core.records.prediction import FlowPrediction, Prediction
from functions._core.records.values import time_span

SHOWN_ONLY = "; it is shown only, the estimate counts"


def about_prediction(ticket: Ticket) -> list[str]:
    """Return what was predicted of a ticket; nothing where nothing was."""
    prediction = ticket.prediction
    if prediction is None or ticket.compensates is not None:
        return []
    if ticket.actual_duration_ms is not None:
        took = span(time_span(ticket.actual_duration_ms))
        return [f"It took {took}, estimated were {_estimate(ticket)}; {_likely(prediction)} were predicted."]
    sentence = f"Its estimate is {_estimate(ticket)}, the prediction {_likely(prediction)}"
    if not prediction.acts:
        return [f"{sentence}{SHOWN_ONLY}."]
    if prediction.timeout_ms is None or not ticket.live:
        return [f"{sentence}."]
    return [f"{sentence}: an attempt may take {span(ticket.timeout)} instead of {_usual_timeout(ticket)}."]


def about_prospects(flow: Flow) -> list[str]:
    """Return how a flow was expected to go, and how it went; nothing where nothing was predicted."""
    prediction = flow.prediction
    if prediction is None:
        return []
    probability = f"{prediction.probability:.0%}"
    closed = closed_at(flow)
    if closed is None:
        return [f"It meets its SLA with a probability of {probability}: {_likely(prediction)} are predicted."]
    took = span(closed - flow.received_at)
    return [f"It took {took}; {_likely(prediction)} were predicted, and {probability} to meet its SLA."]


def _likely(prediction: Prediction | FlowPrediction) -> str:
    p50, p90 = span(time_span(prediction.p50_ms)), span(time_span(prediction.p90_ms))
    return f"{p50} (at most {p90} nine times of ten, by model {plain(prediction.model)})"


def _estimate(ticket: Ticket) -> str:
    return span(time_span(ticket.estimated_duration_ms))


def _usual_timeout(ticket: Ticket) -> str:
    return span(time_span(ticket.sla.timeout_ms))
