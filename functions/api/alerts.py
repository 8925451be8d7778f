"""Alerts that come in: an Alertmanager says that something burns, and the budgets of its SLOs are looked at now.

The sender proves itself before anything of the body is read: by the secret as a bearer token, which an Alertmanager
can send, or by a signature of the body, as pipelines do. A message has its bounds, and so has what it makes the
platform do: each SLO is calculated once, some at a time, and those that take too long are told as errors; playbooks are
asked about the flows that alerts name. An alert that was processed is not processed again while it stays as it is.
"""

import asyncio
import hmac
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import timedelta
from http import HTTPStatus

from fastapi import Request, Response

from functions._core.errors import Conflict, FlowcError, Rejected, Unreadable
from functions._core.healing.alerts import FLOW
from functions._core.slo import stored
from functions._core.slo.definition import Slo
from functions.api.alert_forms import SERVICE_LABEL, AlertAnswer, AlertFault, AlertMessage, ReceivedAlert
from functions.api.bodies import HeldBody, headers_of, unhurried
from functions.api.documents import json_body, problems
from functions.api.message_proofs import Signature, proved, signature_in
from functions.api.problems import checked
from functions.api.rate_limits import stranger_slowed_down
from functions.api.routes import Routes
from functions.api.services import AlertServices, ApiServices, Services

router = Routes(prefix="/webhooks", tags=["webhooks"])

MAX_BODY = 1024 * 1024
"""Bytes of a message."""

SPACE = "alerts-received"
"""The space of `KeyValues` that holds which alerts were processed."""

REMEMBERED = timedelta(days=1)
"""How long an alert that stays as it is is not processed again; an Alertmanager repeats it every few hours."""

AT_ONCE = 4
"""SLOs of a message that are calculated at the same time."""

MAX_SLOS = 100
"""SLOs of a message that are calculated."""

MAX_HEALED = 20
"""Alerts of a message that playbooks are asked about: twice as many as there may be actions within an hour."""

SECONDS = 20.0
"""How long all calculations of a message may take."""

READS = 16
"""Alerts of a message that are looked up at the same time."""

SAID = 500
"""Characters of an error that are told."""


@router.post(
    "/alertmanager",
    response_model=AlertAnswer,
    responses=problems(400, 401, 413, 415, 422, 503),
    openapi_extra={**json_body(AlertMessage), "security": [{}]},
)
async def alerts_received(services: Services, request: Request) -> AlertAnswer | Response:
    """Calculate the budgets of the SLOs that alerts name, by the label `slo`, and look at their policies."""
    alerting = services.alerting
    if alerting is None or not alerting.secrets:
        text = "no Alertmanager can prove itself here: the platform has no FLOWC_ALERT_WEBHOOK_SECRET"
        raise Rejected(text, code="no_alert_secret", status=503)
    try:
        signature = _proof(request, services, alerting)
        async with HeldBody(request, min(services.max_body, MAX_BODY)) as body:
            if signature is not None:
                proved(signature, body, alerting.secrets)
            value = await unhurried(body, lambda parse: parse(body))
    except Rejected as refusal:
        if refusal.status == HTTPStatus.UNAUTHORIZED:
            if (slow := await stranger_slowed_down(services.limiter, request.scope)) is not None:
                return slow
            alerting.refused(refusal.code)
            services.refused_proofs.note(refusal.code, services.ports.clock.now())
        raise
    return await _taken(services, alerting, checked(AlertMessage, value, "body"))


def _proof(request: Request, services: ApiServices, alerting: AlertServices) -> Signature | None:
    """Return the signature that is still to be checked, None where the secret was sent; raise `Rejected`, 401."""
    headers = headers_of(request)
    scheme, _, given = headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer":
        return signature_in(headers, services.ports.clock.now())
    theirs = given.strip().encode("latin-1", errors="replace")
    # All are compared, each in constant time.
    if not sum([hmac.compare_digest(secret.encode(), theirs) for secret in alerting.secrets]):
        raise Rejected("the bearer token is not the secret of alerts", code="bad_token", status=401)
    return None


async def _taken(services: ApiServices, alerting: AlertServices, message: AlertMessage) -> AlertAnswer:
    named = {alert.key: alert for alert in message.alerts if alert.slo}
    slos = await _slos(services, named.values())
    known = [(alert, slos[_name_of(alert)]) for alert in named.values() if _name_of(alert) in slos]
    entries, turns = services.ports.key_values, asyncio.Semaphore(READS)

    async def is_new(alert: ReceivedAlert) -> bool:
        async with turns:
            return await entries.get(SPACE, alert.key) is None

    new = await asyncio.gather(*(is_new(alert) for alert, _ in known))
    fresh = [one for one, is_fresh in zip(known, new, strict=True) if is_fresh]
    faults = await _evaluated(services, {slo.slo_id for _, slo in fresh})
    done = [(alert, slo) for alert, slo in fresh if slo.slo_id not in faults]
    for alert, slo in fresh:
        alerting.heard(alert.status, slo.slo_id, alert.labels.get("alertname", "")[:200])
    healed = await _healed(services, message.alerts) - {alert.key for alert, _ in fresh}
    for alert, _ in done:
        with suppress(Conflict):  # it came twice at a time
            await entries.put(SPACE, alert.key, b"{}", version=0, expires_at=services.ports.clock.now() + REMEMBERED)
    return AlertAnswer(
        received=len(message.alerts),
        processed=len(done) + len(healed),
        ignored=len(message.alerts) - len(fresh) - len(healed),
        errors=tuple(fault for _, fault in sorted(faults.items())),
    )


async def _healed(services: ApiServices, alerts: Sequence[ReceivedAlert]) -> set[str]:
    """Let playbooks heal what alerts that fire say of flows; return the keys of those alerts that one may heal."""
    about = {alert.key: alert for alert in alerts if alert.status == "firing" and FLOW in alert.labels}
    found = set[str]()
    for key, alert in list(about.items())[:MAX_HEALED]:
        with suppress(Unreadable):  # nobody can tell what is the matter with that flow
            if await services.engine.heal_alert(key, alert.labels):
                found.add(key)
    return found


def _name_of(alert: ReceivedAlert) -> tuple[str, str]:
    return alert.slo, alert.labels.get(SERVICE_LABEL, "")


async def _slos(services: ApiServices, alerts: Iterable[ReceivedAlert]) -> Mapping[tuple[str, str], Slo]:
    """Return the SLOs that alerts name and that are on, by label and service."""
    wanted = {_name_of(alert) for alert in alerts}
    if not wanted:
        return {}
    by_id: dict[str, Slo] = {}
    by_name: dict[str, list[Slo]] = {}
    for one in await stored.slos(services.ports.key_values):
        if one.enabled:
            by_id[one.slo_id] = one
            by_name.setdefault(one.name, []).append(one)
    found = ((key, by_id.get(key[0]) or _of_name(by_name.get(key[0], ()), key[1])) for key in wanted)
    return {key: one for key, one in found if one is not None}


def _of_name(same: Sequence[Slo], service: str) -> Slo | None:
    """Return which SLO of a name an alert means: that of its service, else the only one; None where it may be any."""
    only = same[0] if len(same) == 1 else None
    return next((one for one in same if one.service_name == service), only)


async def _evaluated(services: ApiServices, slo_ids: set[str]) -> Mapping[str, AlertFault]:
    """Calculate budgets and look at the policies; return what failed, by SLO."""
    turns, until = asyncio.Semaphore(AT_ONCE), asyncio.get_running_loop().time() + SECONDS
    ordered = sorted(slo_ids)
    faults = {slo_id: _fault(slo_id, "too_many", f"a message has {MAX_SLOS} SLOs") for slo_id in ordered[MAX_SLOS:]}

    async def evaluate(slo_id: str) -> None:
        try:
            async with asyncio.timeout_at(until), turns:
                await services.engine.recalculate(slo_id)
                await services.engine.enforce_policies(slo_id)
        except FlowcError as error:
            code = error.code if isinstance(error, Rejected) else "unavailable"
            faults[slo_id] = _fault(slo_id, code, str(error))
        except TimeoutError:
            faults[slo_id] = _fault(slo_id, "timeout", f"the calculations of a message have {SECONDS:g} s")

    async with asyncio.TaskGroup() as calculations:
        for slo_id in ordered[:MAX_SLOS]:
            calculations.create_task(evaluate(slo_id))
    return faults


def _fault(slo_id: str, code: str, message: str) -> AlertFault:
    return AlertFault(slo=slo_id, code=code, message=message[:SAID])
