"""Who calls: a name and roles, as the credential of a request proves them."""

from collections.abc import Mapping
from dataclasses import dataclass

from functions._core.records.record import Record
from functions._core.records.values import Timestamp, Word


class Role(Word):
    """What a caller may do; lower case on every wire."""

    VIEWER = "viewer"
    OPERATOR = "operator"
    WORKER = "worker"
    ADMIN = "admin"


FIRST_ADMIN = "admin"
"""Name of whoever has FLOWC_API_KEY."""

INCLUDED: Mapping[Role, frozenset[Role]] = {
    Role.VIEWER: frozenset({Role.VIEWER}),
    Role.WORKER: frozenset({Role.WORKER}),
    Role.OPERATOR: frozenset({Role.OPERATOR, Role.VIEWER, Role.WORKER}),
    Role.ADMIN: frozenset(Role),
}
"""The roles that each role includes. A worker reads nothing but what is its own."""


@dataclass(frozen=True, slots=True)
class Principal:
    """A caller that is known."""

    name: str
    """Name that is kept with everything that the caller does; of a worker its id."""
    roles: frozenset[Role]
    """Roles of the caller; each includes others, see `INCLUDED`."""
    key_id: str | None = None
    """Public part of the API key, if one was sent."""
    scopes: frozenset[str] = frozenset()
    """The only areas of the API that the caller may enter; empty: all."""
    ticket_id: str | None = None
    """The ticket whose token was sent, if one was: the caller may act on no other."""
    attempt: int | None = None
    """The attempt that this token was made for."""
    worker_id: str | None = None
    """The only worker that the caller may act for; None: any, as far as the roles go."""

    def may(self, *any_of: Role) -> bool:
        """Whether one of the caller's roles is, or includes, one of those given."""
        return any(INCLUDED[role] & frozenset(any_of) for role in self.roles)


class ApiKey(Record):
    """A key as it is stored: enough to know it again, too little to use it."""

    key_id: str
    """Public part of the key, 16 hexadecimal digits."""
    name: str
    """Name that is kept with everything that the holder does."""
    roles: tuple[Role, ...]
    """Roles of the holder."""
    scopes: tuple[str, ...] = ()
    """Areas of the API that it opens: `flows`, `metrics`; empty: all."""
    worker_id: str | None = None
    """The only worker that the holder acts for; None: any."""
    digest: str
    """SHA-256 of the secret part, hexadecimal."""
    created_at: Timestamp
    """When it was made."""
    created_by: str
    """Name of the administrator who made it."""
    expires_at: Timestamp | None = None
    """When it stops to hold; None: never."""

    @property
    def principal(self) -> Principal:
        """The caller who holds it."""
        return Principal(
            name=self.name,
            roles=frozenset(self.roles),
            key_id=self.key_id,
            scopes=frozenset(self.scopes),
            worker_id=self.worker_id,
        )
