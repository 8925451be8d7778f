"""The Alertmanager: which alerts are there, and silences made and deleted. Its address is a setting."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from http import HTTPStatus
from typing import Any, NamedTuple
from urllib.parse import quote, urlencode

from functions._adapters.http.client import HttpClient
from functions._adapters.http.repeated import PASSING, Request, call_repeated
from functions._core.errors import Rejected, Unavailable
from functions._core.records.json_text import parse_json
from functions._core.records.record import encode
from functions._core.records.values import format_time, to_utc

TIMEOUT_SECONDS = 10.0
ANSWER_BYTES = 1024 * 1024
"""Bytes of an answer: more than a thousand alerts."""

SLO_LABEL = "slo"
"""The label by which an alert names an SLO, by id or name."""

SAID = 500
"""Characters of an error of the server that are told."""

JSON = {"content-type": "application/json", "accept": "application/json"}


class AlertsFailed(Rejected):
    """The Alertmanager answered, but did not do what it was asked."""

    def __init__(self, message: str) -> None:
        super().__init__(message, code="alertmanager_failed", status=502)


class Alert(NamedTuple):
    """An alert that lasts; `state` is `active`, `suppressed` or `unprocessed`."""

    fingerprint: str
    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    starts_at: datetime
    state: str
    silenced_by: Sequence[str]


class AlertmanagerClient:
    """Calls the API v2 of one Alertmanager; raises `AlertsFailed` for its errors, `Unavailable` without an answer."""

    def __init__(self, client: HttpClient, url: str, *, timeout_seconds: float = TIMEOUT_SECONDS) -> None:
        """Call nobody yet; `url` is the base URL."""
        self._client = client
        self._url = url.rstrip("/")
        self._timeout_seconds = timeout_seconds

    async def alerts(self, *filters: str, silenced: bool = True) -> Sequence[Alert]:
        """Return the alerts that fit all of the filters, each a matcher such as `severity=~"page|ticket"`."""
        asked = [("filter", one) for one in filters] + [("silenced", "true" if silenced else "false")]
        found = await self._call("GET", f"/alerts?{urlencode(asked)}")
        try:
            return [_alert(one) for one in found]
        except (KeyError, TypeError, ValueError, AttributeError):
            raise AlertsFailed("the Alertmanager answered something that is no list of alerts") from None

    async def slo_alerts(self, slo: str | None = None, *, silenced: bool = True) -> Sequence[Alert]:
        """Return the alerts that name an SLO, or that name this one, by id or name."""
        matcher = f'{SLO_LABEL}!=""' if slo is None else f"{SLO_LABEL}={_quoted(slo)}"
        return await self.alerts(matcher, silenced=silenced)

    async def silence(
        self, labels: Mapping[str, str], starts_at: datetime, ends_at: datetime, *, by: str, comment: str
    ) -> str:
        """Silence the alerts with all of the labels for a time, and return the id of the silence.

        It is not asked twice where it may have been heard: each time would make another silence.
        """
        if not any(labels.values()):
            raise AlertsFailed("a silence without a label would silence every alert")
        asked = {
            "matchers": [
                {"name": name, "value": value, "isRegex": False, "isEqual": True} for name, value in labels.items()
            ],
            "startsAt": format_time(starts_at),
            "endsAt": format_time(ends_at),
            "createdBy": by,
            "comment": comment,
        }
        made = await self._call("POST", "/silences", asked, harmless=False)
        silence_id = made.get("silenceID") if isinstance(made, dict) else None
        if not isinstance(silence_id, str) or not silence_id:
            raise AlertsFailed("the Alertmanager answered without the id of a silence")
        return silence_id

    async def delete_silence(self, silence_id: str) -> None:
        """End a silence; one that has ended stays so."""
        await self._call("DELETE", f"/silence/{quote(silence_id, safe='')}")

    async def _call(
        self, method: str, path: str, body: Mapping[str, Any] | None = None, *, harmless: bool = True
    ) -> Any:
        """Return the JSON of an answer, None for an empty one."""
        request = Request(method, f"{self._url}/api/v2{path}", JSON, b"" if body is None else encode(body))
        reply = await call_repeated(
            self._client, request, seconds=self._timeout_seconds, answer_bytes=ANSWER_BYTES, harmless=harmless
        )
        if reply.status in PASSING:
            raise Unavailable(f"the Alertmanager answered {reply.status}")
        if reply.status != HTTPStatus.OK:
            said = "".join(character if character.isprintable() else " " for character in reply.text[:SAID]).strip()
            raise AlertsFailed(f"the Alertmanager answered {reply.status}{': ' if said else ''}{said}")
        if not reply.complete:
            raise AlertsFailed(f"the Alertmanager's answer does not end, or has more than {ANSWER_BYTES} bytes")
        try:
            return parse_json(reply.body) if reply.body.strip() else None
        except Rejected:
            raise AlertsFailed("the Alertmanager answered something that is no JSON") from None


def _alert(one: Mapping[str, Any]) -> Alert:
    status = one["status"]
    return Alert(
        fingerprint=str(one["fingerprint"]),
        labels=_texts(one["labels"]),
        annotations=_texts(one["annotations"]),
        starts_at=to_utc(datetime.fromisoformat(one["startsAt"])),
        state=str(status["state"]),
        silenced_by=[str(silence) for silence in status["silencedBy"]],
    )


def _texts(pairs: Mapping[str, Any]) -> Mapping[str, str]:
    return {str(name): str(value) for name, value in pairs.items()}


def _quoted(value: str) -> str:
    """Return a value as a matcher has it: whatever is in it, it does not end before its end."""
    escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'
