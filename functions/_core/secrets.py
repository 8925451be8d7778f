"""The port of secrets that are kept elsewhere."""

from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256
from typing import Protocol

from functions._core.errors import Rejected


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


def unknown(why: str) -> Rejected:
    """Return the refusal of a secret that is not there."""
    return Rejected(why, code="unknown_secret", status=404)


def version_of(value: str) -> str:
    """Return a version for a secret that has none: the beginning of a hash of it, which tells changes and no more."""
    return sha256(b"version of a secret\0" + value.encode()).hexdigest()[:16]
