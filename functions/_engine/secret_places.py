"""Where secrets are, as settings name it: `env:NAME`, `file:PATH`, `vault:PATH#FIELD`, `aws:NAME`.

Before the first colon stands the kind; a name without one is AWS's, as its ARNs are.
"""

from collections.abc import Mapping
from typing import NamedTuple

from functions._core.decision.references import SECRET_NAME

AWS, ENV, FILE, VAULT = "aws", "env", "file", "vault"

MOST_NAMES = 1_000
"""Secrets that one setting may name."""


class SecretPlace(NamedTuple):
    """Where a secret is."""

    kind: str
    name: str


def place_of(text: str) -> SecretPlace:
    """Return the place that a setting names."""
    kind, _, name = text.partition(":")
    return SecretPlace(kind, name) if kind in {AWS, ENV, FILE, VAULT} else SecretPlace(AWS, text)


def task_places(text: str) -> Mapping[tuple[str | None, str], SecretPlace]:
    """Return the places in `[tenant/]name=place,…` by tenant, None for all, and name; raise `ValueError`."""
    entries = [entry.strip() for entry in text.split(",") if entry.strip()]
    if len(entries) > MOST_NAMES:
        raise ValueError(f"names {len(entries)} secrets, at most {MOST_NAMES} are allowed")
    found: dict[tuple[str | None, str], SecretPlace] = {}
    for entry in entries:
        whose, _, place = entry.partition("=")
        tenant, _, name = whose.strip().rpartition("/")
        if not SECRET_NAME.fullmatch(name) or not place_of(place.strip()).name:
            raise ValueError(f"{whose.strip()[:100]!r} is not written name=place or tenant/name=place")
        if (tenant or None, name) in found:
            raise ValueError(f"names {whose.strip()[:100]!r} twice")
        found[tenant or None, name] = place_of(place.strip())
    return found


def checked_places(text: str) -> str:
    """Return a setting of secrets that tasks may have; raise `ValueError` where it is wrong, without any place."""
    task_places(text)
    return text
