"""Flow SLA policies and what they have done, in the store: small records of `KeyValues`."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from msgspec import MsgspecError

from functions._core.errors import Conflict
from functions._core.events.policies import PAUSING, POLICIES
from functions._core.named_records import NamedRecords
from functions._core.ports import Entry, KeyValues
from functions._core.records.record import decode, encode
from functions._core.records.values import add_time
from functions._core.slo.flow_policies import (
    MAX_FLOW_POLICIES,
    Announced,
    FlowSlaPolicy,
    PolicyApplication,
    application_key,
)

APPLICATIONS = "flow-sla-applied"
"""The space of what policies have done, by flow, policy and announcement."""

KEPT = timedelta(days=30)
"""How long it is known what a policy has done: longer than an event is delivered again."""

PAUSES = 200
"""Applications that are looked at so that two do not pause the same flow."""

TOLD = 20
"""Applications of one flow that are read."""


FLOW_POLICIES = NamedRecords(POLICIES, FlowSlaPolicy, MAX_FLOW_POLICIES)


async def application(entries: KeyValues, policy_name: str, about: Announced) -> tuple[PolicyApplication | None, int]:
    """Return what a policy has done about an announcement, and the version of that record."""
    entry = await entries.get(APPLICATIONS, application_key(policy_name, about))
    return (None, 0) if entry is None else (read_application(entry), entry.version)


async def put_application(entries: KeyValues, one: PolicyApplication, version: int, now: datetime) -> int:
    """Store what a policy has done in place of that of `version`; return its version; raise `Conflict`."""
    key, expires = application_key(one.policy, one.announced), add_time(now, KEPT)
    return (await entries.put(APPLICATIONS, key, encode(one), version=version, expires_at=expires)).version


async def applications_of(entries: KeyValues, flow_id: str) -> Sequence[PolicyApplication]:
    """Return what policies have done for a flow, up to `TOLD` times, the first first."""
    page = await entries.page(APPLICATIONS, f"{flow_id}/", TOLD)
    of_flow = [
        one for entry in page if entry.key.startswith(f"{flow_id}/") if (one := read_application(entry)) is not None
    ]
    return sorted(of_flow, key=lambda one: one.begun_at)


async def put_pausing(entries: KeyValues, one: PolicyApplication) -> None:
    """Remember, before it happens, that a policy pauses other flows; twice is once."""
    key = application_key(one.policy, one.announced)
    if await entries.get(PAUSING, key) is None:
        try:
            await entries.put(PAUSING, key, encode(one), version=0)
        except Conflict:
            return  # another process does the same


async def pausing(entries: KeyValues) -> Sequence[tuple[str, PolicyApplication]]:
    """Return applications that have paused other flows, each with its key, up to `PAUSES` of them."""
    page = await entries.page(PAUSING, None, PAUSES)
    return [(entry.key, one) for entry in page if (one := read_application(entry)) is not None]


def read_application(entry: Entry) -> PolicyApplication | None:
    """Return the application that an entry holds, None when it cannot be read."""
    try:
        return decode(PolicyApplication, entry.value)
    except MsgspecError:
        return None
