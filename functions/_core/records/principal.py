"""Who calls: a name and roles, as the credential of a request proves them."""

from collections.abc import Mapping
from dataclasses import dataclass

from functions._core.records.values import Word


class Role(Word):
    """What a caller may do; lower case on every wire."""

    VIEWER = "viewer"
    OPERATOR = "operator"
    WORKER = "worker"
    ADMIN = "admin"


INCLUDED: Mapping[Role, frozenset[Role]] = {
    Role.VIEWER: frozenset({Role.VIEWER}),
    Role.WORKER: frozenset({Role.WORKER}),
    Role.OPERATOR: frozenset({Role.OPERATOR, Role.VIEWER, Role.WORKER}),
    Role.ADMIN: frozenset(Role),
}
"""The roles that each role includes. A worker reads nothing but what is its own."""


@dataclass(frozen=True, slots=True)
class Principal:
    """A caller that is known.

    `key_id` is the public part of the API key, if one was sent. `scopes` are the only areas of the API that the caller
    may enter; empty: all. `ticket_id` and `attempt` are those of the ticket's token, if one was sent: it opens nothing
    else, and `name` is the worker that holds the attempt.
    """

    name: str
    roles: frozenset[Role]
    key_id: str | None = None
    scopes: frozenset[str] = frozenset()
    ticket_id: str | None = None
    attempt: int | None = None

    def may(self, *any_of: Role) -> bool:
        """Whether one of the caller's roles is, or includes, one of those given."""
        return any(INCLUDED[role] & frozenset(any_of) for role in self.roles)
