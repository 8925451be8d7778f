"""Leases of the secrets that settings were read from: they are renewed for as long as the platform runs.

What was read at the start stays in use: a value that changes, or is lost, is logged, audited and shown by /ready, and
takes effect with the next start.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from functions._core.errors import FlowcError
from functions._core.ports import Clock, FlowStore
from functions._core.records.audits import ActionRecord, action_id
from functions._core.records.change_set import ChangeSet
from functions._core.secrets import Secret, Secrets
from functions._observability.logs import log

PLATFORM = "platform"
"""Who loses a secret, in its audit."""

LATE = 4
"""The part of a lease, a quarter, that is left when it was not renewed as it should have been."""

SHORTEST_PAUSE, LONGEST_PAUSE = 1.0, 3600.0
"""Seconds between looks at the leases."""


@dataclass(slots=True)
class SecretLease:
    """A secret of the settings, where it is read, and when it was read or renewed last."""

    variable: str
    source: Secrets
    name: str
    secret: Secret
    granted_at: datetime


class LeasedEnvironment(dict[str, str]):
    """An environment with the secrets that it names; `leases` are those of them that end."""

    leases: Sequence[SecretLease] = ()


def leases_of(environment: Mapping[str, str]) -> Sequence[SecretLease]:
    """Return the leases of the secrets in an environment."""
    return environment.leases if isinstance(environment, LeasedEnvironment) else ()


class SecretLeases:
    """Renews leases; `lost` names the variables whose secret does not hold any more, with the reason."""

    def __init__(self, leases: Sequence[SecretLease], store: FlowStore, clock: Clock) -> None:
        self._leases, self._store, self._clock = leases, store, clock
        self.lost: dict[str, str] = {}

    async def run(self) -> None:
        """Renew until cancelled."""
        while self._leases:
            await asyncio.sleep(self._pause())
            await self.round()

    async def round(self) -> None:
        """Look at each lease once: its source renews it when two thirds are over."""
        for lease in self._leases:
            try:
                found = await lease.source.get(lease.name)
            except FlowcError as error:
                await self._note(lease, f"its lease is over: {error}")
                continue
            await self._found(lease, found)

    async def _found(self, lease: SecretLease, found: Secret) -> None:
        now, known = self._clock.now(), lease.secret
        if found.value != known.value:
            await self._note(lease, "it has another value now, which takes effect with the next start")
        elif found.expires_at != known.expires_at:
            lease.secret, lease.granted_at = found, now
            self.lost.pop(lease.variable, None)
            log.info("secret.renewed", variable=lease.variable, expires_at=found.expires_at)
        elif found.expires_at is not None and LATE * (found.expires_at - now) < found.expires_at - lease.granted_at:
            log.warning("secret.not_renewed", variable=lease.variable, expires_at=found.expires_at)

    async def _note(self, lease: SecretLease, why: str) -> None:
        """Say that a secret is lost: in the log each time, in the audits once."""
        log.error("secret.lost", variable=lease.variable, reason=why)
        if lease.variable in self.lost:
            return
        now = self._clock.now()
        action = ActionRecord(
            audit_id=action_id(lease.variable, f"lose_secret/{now.isoformat()}"),
            flow_id="",
            action="lose_secret",
            target=lease.variable,
            who=PLATFORM,
            why=why[:1000],
            at=now,
        )
        try:
            await self._store.commit(ChangeSet(flow_id="", audit=(action,)))
        except FlowcError as error:
            log.warning("secret.not_audited", variable=lease.variable, error=str(error))
            return
        self.lost[lease.variable] = why

    def _pause(self) -> float:
        now = self._clock.now()
        ends = [lease.secret.expires_at for lease in self._leases if lease.secret.expires_at is not None]
        left = min((end - now for end in ends), default=timedelta())
        return min(max(SHORTEST_PAUSE, left.total_seconds() / LATE), LONGEST_PAUSE)
