"""The handshake of the CloudEvents webhook: a sink consents to get events, and says how many a minute."""

from http import HTTPStatus

from functions._adapters.http.outbound import OutboundClient
from functions._core.errors import FlowcError, Rejected

TIMEOUT_SECONDS = 10.0
ANSWER_BYTES = 1024


async def consent(calls: OutboundClient, sink: str, origin: str) -> int | None:
    """Ask a sink for its consent; return the requests per minute that it allows, None for any number.

    `origin` is the name of this platform. The consent is in the headers of the answer: a status of success says
    nothing. Raises `Rejected`, code `no_consent`, for a sink that does not consent, does not answer, or may not be
    called.
    """
    headers = {"webhook-request-origin": origin, "webhook-request-rate": "*"}
    try:
        answer = await calls.request("OPTIONS", sink, headers=headers, timeout=TIMEOUT_SECONDS, limit=ANSWER_BYTES)
    except FlowcError as failure:
        raise _refused(str(failure)) from failure
    if answer.status >= HTTPStatus.MULTIPLE_CHOICES:
        raise _refused(f"it answered {answer.status}")
    allowed = answer.headers.get("webhook-allowed-origin", "")
    if allowed.lower() not in {"*", origin.lower()}:
        raise _refused(f"its answer allows {allowed[:200]!r}, not {origin!r}")
    rate = answer.headers.get("webhook-allowed-rate", "*").strip()
    if rate == "*":
        return None
    if not (rate.isascii() and rate.isdecimal() and int(rate[:9]) > 0):
        raise _refused(f"its answer allows the rate {rate[:100]!r}")
    return int(rate[:9])


def _refused(why: str) -> Rejected:
    text = f"the sink does not consent to the handshake (OPTIONS with WebHook-Request-Origin): {why}"
    return Rejected(text, code="no_consent", status=422)
