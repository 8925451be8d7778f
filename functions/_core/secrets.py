"""The ports of secrets that are kept elsewhere: by their place, and those that tasks may have, by name."""

from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256
from typing import Protocol

from functions._core.errors import Rejected, Unavailable, Undeliverable


@dataclass(frozen=True, slots=True)
class Secret:
    """A secret: `version` changes with its value; `expires_at` is the end of its lease, if it has one."""

    value: str = field(repr=False)
    version: str
    expires_at: datetime | None = None


class Secrets(Protocol):
    """Secrets that are kept elsewhere."""

    async def get(self, name: str) -> Secret:
        """Return a secret that holds now, renewed if that was due.

        Raises `Rejected`, code `unknown_secret`, when there is none or it may not be read; `Unavailable`.
        """


class SecretUnavailable(Unavailable):
    """A secret of a task cannot be read now; the task waits."""


class TaskSecrets(Protocol):
    """The secrets that the operator lets tasks have, by the names that plans use."""

    async def value(self, name: str, tenant_id: str | None) -> str:
        """Return the secret of this name for a flow of a tenant.

        Raises `Undeliverable`, code `unknown_secret`, where the operator allows none; `SecretUnavailable`. Neither says
        where it is kept.
        """


class NoTaskSecrets:
    """No task may have any."""

    async def value(self, name: str, tenant_id: str | None) -> str:  # noqa: ARG002 see `TaskSecrets`
        """Refuse it."""
        raise unknown_to_tasks(name)


def unknown_to_tasks(name: str) -> Undeliverable:
    """Return the failure of a task that refers to a secret which it may not have."""
    return Undeliverable(f"there is no secret {name[:100]!r} that the task may have", code="unknown_secret")


def unknown(why: str) -> Rejected:
    """Return the refusal of a secret that is not there."""
    return Rejected(why, code="unknown_secret", status=404)


def version_of(value: str) -> str:
    """Return a version for a secret that has none: the beginning of a hash of it, which tells changes and no more."""
    return sha256(b"version of a secret\0" + value.encode()).hexdigest()[:16]
