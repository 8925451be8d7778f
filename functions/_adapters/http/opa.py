"""Open Policy Agent, or another server with its data API, asked for decisions.

Written after OPA's REST API: `POST /v1/data/<path>` with `{"input": …}`, answered by `{"result": …}`. Its address is a
setting, no redirect is followed, and an answer is read up to a bound. What is no verdict counts as none: an error, a
policy that is not there, a result of another form. After some of these in a row it is not asked for a while, so that
an outage costs a flow no more than a moment.

A result is read in one of three forms:

    true, false                             allowed, denied
    ["message", …]                          denied, if there is any
    {"allow": …, "deny": […], "quarantine": […], "violations": [{"severity": …, "message": …}]}

A message is a text, or an object with `message` or `msg`. `allow`, where it is there, must be true. A violation of the
severity medium, low, info or warning does not deny; any other one does.
"""

import asyncio
from collections.abc import Iterable, Iterator, Mapping, Sequence
from http import HTTPStatus
from typing import Any

import msgspec

from functions._adapters.http.client import HttpClient
from functions._adapters.http.repeated import PASSING, Request, call_repeated
from functions._core.errors import Rejected, Unavailable
from functions._core.guards.gate import ALLOWED, POLICY_DENIED, QUARANTINED, Finding, GuardVerdict, PolicyAway, Stage
from functions._core.records.json_text import parse_json
from functions._core.records.models import Reason

ANSWER_BYTES = 64 * 1024
"""Bytes of an answer: a verdict is a few sentences."""

MESSAGES = 20
"""Messages of a verdict that are kept."""

SAID = 2000
"""Characters of a message that are read."""

AT_ONCE = 8
"""Questions that are under way at the same time."""

FAILURES = 5
"""Questions in a row without a verdict after which the server is not asked for a while."""

PAUSE_SECONDS = 30.0
"""How long it is not asked then; one question tries it after that."""

MILD = frozenset({"medium", "low", "info", "warning"})
"""Severities of violations that deny nothing."""

KNOWN = frozenset({"allow", "deny", "quarantine", "violations"})
"""Members of a result, one of which must be there."""


class OpaServer:
    """Asks for verdicts; implements `PolicyServer`."""

    def __init__(
        self,
        client: HttpClient,
        url: str,
        paths: Mapping[Stage, str],
        *,
        token: str | None = None,
        timeout_seconds: float = 2.0,
        pause_seconds: float = PAUSE_SECONDS,
    ) -> None:
        """Call nobody yet; `paths` are those of the packages."""
        self._client = client
        self._url = url.rstrip("/")
        self._paths = paths
        self._headers = {"content-type": "application/json", "accept": "application/json"}
        if token:
            self._headers["authorization"] = f"Bearer {token}"
        self._timeout_seconds = timeout_seconds
        self._pause_seconds = pause_seconds
        self._failures, self._shut_until = 0, 0.0
        self._turns = asyncio.Semaphore(AT_ONCE)

    async def decide(self, stage: Stage, asked: Sequence[Mapping[str, Any]]) -> Sequence[GuardVerdict]:
        """See `PolicyServer.decide`."""
        found = await asyncio.gather(*(self._decide(stage, one) for one in asked), return_exceptions=True)
        for one in found:
            if isinstance(one, BaseException):
                raise one
        return [one for one in found if isinstance(one, GuardVerdict)]

    async def _decide(self, stage: Stage, asked: Mapping[str, Any]) -> GuardVerdict:
        async with self._turns:
            return await self._counted(stage, asked)

    async def _counted(self, stage: Stage, asked: Mapping[str, Any]) -> GuardVerdict:
        """Ask, and count what comes of it; the server is not asked while the breaker is open."""
        seconds = asyncio.get_running_loop().time
        if seconds() < self._shut_until:
            raise PolicyAway(f"it has given none {FAILURES} times in a row, and is not asked for a while")
        try:
            verdict = verdict_of(await self._ask(self._paths[stage], asked), self._paths[stage])
        except PolicyAway:
            self._failures += 1
            if self._failures >= FAILURES:
                self._shut_until = seconds() + self._pause_seconds
            raise
        self._failures = 0
        return verdict

    async def _ask(self, path: str, asked: Mapping[str, Any]) -> Any:
        """Return the result for an input."""
        request = Request("POST", f"{self._url}/v1/data/{path}", self._headers, msgspec.json.encode({"input": asked}))
        try:
            reply = await call_repeated(self._client, request, seconds=self._timeout_seconds, answer_bytes=ANSWER_BYTES)
        except Unavailable as away:
            raise PolicyAway(str(away)) from away
        if reply.status in PASSING or reply.status != HTTPStatus.OK:
            raise PolicyAway(f"it answered {reply.status}")
        if not reply.complete:
            raise PolicyAway(f"its answer did not end within {ANSWER_BYTES} bytes and in time")
        try:
            answer = parse_json(reply.body)
        except Rejected as fault:
            raise PolicyAway("it answered something that is no JSON") from fault
        if not isinstance(answer, dict) or "result" not in answer:
            raise PolicyAway(f"it has no policy at {path}, or that gives no result")
        return answer["result"]


def verdict_of(result: object, path: str) -> GuardVerdict:
    """Return a result as a verdict; raise `PolicyAway` for one of another form. `path` names the policy."""
    if isinstance(result, bool):
        return ALLOWED if result else _denied((), path)
    if isinstance(result, list):
        return _denied(_messages(result), path) if result else ALLOWED
    if not isinstance(result, dict) or not KNOWN & result.keys():
        raise PolicyAway("its result is no verdict")
    allow = result.get("allow", True)
    if not isinstance(allow, bool):
        raise PolicyAway("its result is no verdict: `allow` is neither true nor false")
    denying = [*_messages(result.get("deny", ())), *_grave(result.get("violations", ()))]
    if denying or not allow:
        return _denied(denying, path)
    held = [*_messages(result.get("quarantine", ()))]
    return GuardVerdict(Finding.QUARANTINE, _reasons(held, QUARANTINED)) if held else ALLOWED


def _denied(messages: Iterable[str], path: str) -> GuardVerdict:
    said = [*messages] or [f"the policy at {path} does not allow it"]
    return GuardVerdict(Finding.DENY, _reasons(said, POLICY_DENIED))


def _reasons(messages: Iterable[str], code: str) -> tuple[Reason, ...]:
    return tuple(Reason(code=code, message=message) for message in [*messages][:MESSAGES])


def _messages(said: object) -> Iterator[str]:
    """Yield messages; what is none is told as one without words, as a policy that denies must not be passed over."""
    if not isinstance(said, list | tuple):
        raise PolicyAway("its result is no verdict: messages are a list")
    for one in said:
        text = one.get("message") or one.get("msg") if isinstance(one, dict) else one
        yield text[:SAID] if isinstance(text, str) and text else "a policy forbids it, and says no more"


def _grave(violations: object) -> Iterator[str]:
    """Yield the messages of violations that deny; one whose severity is not known denies, too."""
    if not isinstance(violations, list | tuple):
        raise PolicyAway("its result is no verdict: violations are a list")
    for one in violations:
        severity = one.get("severity") if isinstance(one, dict) else None
        if not isinstance(severity, str) or severity.lower() not in MILD:
            yield from _messages([one])
