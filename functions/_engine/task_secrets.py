"""The secrets that tasks may have: the operator names them, plans refer to them, and only assignments carry them.

What was read is remembered for a short time, in this process alone, so that a plan of many tasks asks once.
"""

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from functools import partial
from typing import NamedTuple

from functions._core.errors import Rejected, Unavailable
from functions._core.ports import Clock
from functions._core.records.values import add_time
from functions._core.secrets import NoTaskSecrets, Secrets, SecretUnavailable, TaskSecrets, unknown_to_tasks
from functions._engine.secret_places import SecretPlace, task_places
from functions._engine.secrets import secrets_of_kind
from functions._engine.settings import Settings
from functions._observability.logs import log

REMEMBERED = timedelta(minutes=1)
"""How long a value is used before it is read again: so soon a new one is seen."""

AWAY = timedelta(seconds=5)
"""How long a place that did not answer is not asked again: many tasks may wait for it."""


class _Known(NamedTuple):
    value: str | None
    until: datetime


class NamedTaskSecrets:
    """Secrets by name, each in its place; implements `TaskSecrets`."""

    def __init__(
        self,
        places: Mapping[tuple[str | None, str], SecretPlace],
        source_of: Callable[[str], Secrets],
        clock: Clock,
    ) -> None:
        """`source_of` makes what reads a kind of place, once for each kind."""
        self._places = places
        self._source_of = source_of
        self._clock = clock
        self._sources: dict[str, Secrets] = {}
        self._known: dict[SecretPlace, _Known] = {}

    async def value(self, name: str, tenant_id: str | None) -> str:
        """See `TaskSecrets`. One of the tenant's own comes before one of the same name for all."""
        place = self._places.get((tenant_id, name)) or self._places.get((None, name))
        if place is None:
            raise unknown_to_tasks(name)
        known, now = self._known.get(place), self._clock.now()
        if known is None or known.until <= now:
            known = self._known[place] = await self._read(name, place, now)
        if known.value is None:
            raise SecretUnavailable(f"the secret {name!r} of the task cannot be read now")
        return known.value

    async def _read(self, name: str, place: SecretPlace, now: datetime) -> _Known:
        try:
            if place.kind not in self._sources:
                self._sources[place.kind] = self._source_of(place.kind)
            found = await self._sources[place.kind].get(place.name)
        except Unavailable as error:
            log.warning("task_secret.unavailable", secret=name, reason=str(error))
            return _Known(None, add_time(now, AWAY))
        except Rejected as error:  # its text names the place, which is for the operator alone
            log.warning("task_secret.unknown", secret=name, reason=str(error))
            raise unknown_to_tasks(name) from None
        until = add_time(now, REMEMBERED)
        return _Known(found.value, until if found.expires_at is None else min(until, found.expires_at))


def task_secrets_of(settings: Settings, clock: Clock) -> TaskSecrets:
    """Return the secrets that the settings let tasks have."""
    places = task_places(settings.task_secrets)
    source_of = partial(secrets_of_kind, environment=settings.environment, clock=clock)
    return NamedTaskSecrets(places, source_of, clock) if places else NoTaskSecrets()
