"""The ports of guards: the policies that hold now, and a server that decides beside them.

A server is asked about a plan before anything of it runs (C1), and about a ticket before a worker gets it (C3). Where
it is away a setting says whether work goes on or waits.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from functions._core.errors import Unavailable
from functions._core.records.models import Reason
from functions._core.records.values import Word

POLICY_DENIED = "policy_denied"
"""Code of the reason of a flow or ticket that a policy denies."""

QUARANTINED = "quarantined"
"""Code of the reason of a ticket that waits until a person has decided about it."""

POLICY_UNAVAILABLE = "policy_unavailable"
"""Code of the reason of what cannot be judged, as the policy server is away."""

QUARANTINE_REJECTED, QUARANTINE_EXPIRED = "quarantine_rejected", "quarantine_expired"
"""Codes of the failures of a ticket that a person has rejected, or about which nobody has decided in time."""


TOGETHER = 1000
"""Characters of the reasons of a verdict that a ticket keeps."""


class Stage(Word):
    """When a guard looks; lower case on every wire."""

    PLAN = "plan"
    TICKET = "ticket"


class Finding(Word):
    """What a guard finds; lower case on every wire."""

    ALLOW = "allow"
    DENY = "deny"
    QUARANTINE = "quarantine"
    UNAVAILABLE = "unavailable"


class PolicyAway(Unavailable):
    """The policy server gives no verdict."""


class GuardVerdict(NamedTuple):
    """What guards find of a plan or a ticket, and why. `passes`: what is unavailable stops nothing."""

    finding: Finding
    reasons: tuple[Reason, ...] = ()
    passes: bool = False

    @property
    def stops(self) -> bool:
        """Whether the work does not go on by itself."""
        return self.finding is not Finding.ALLOW and not self.passes

    @property
    def one_reason(self) -> Reason:
        """All reasons as one, for the row of a ticket."""
        first = self.reasons[0]
        text = "; ".join(reason.message for reason in self.reasons)
        return first.but(message=text if len(text) <= TOGETHER else f"{text[:TOGETHER]}…")


ALLOWED = GuardVerdict(Finding.ALLOW)


class PolicyServer(Protocol):
    """Decides by policies that are kept elsewhere."""

    async def decide(self, stage: Stage, asked: Sequence[Mapping[str, Any]]) -> Sequence[GuardVerdict]:
        """Return what its policies find of each of `asked`, in their order; its messages are bounded.

        Raises `PolicyAway` where it gives no verdict about one of them.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class GuardState:
    """What is looked at now; `policies` are `GuardPolicy` that are enabled."""

    policies: Sequence[Any] = ()
    server: PolicyServer | None = None
    stages: frozenset[Stage] = frozenset()
    """The stages at which the server is asked."""
    passes: bool = False
    """Whether work goes on that the server cannot judge."""

    def server_at(self, stage: Stage) -> PolicyServer | None:
        """Return the server that is asked at a stage, None where none is."""
        return self.server if stage in self.stages else None


class Guards(Protocol):
    """What is looked at before work goes on, as this process knows it."""

    async def state(self) -> GuardState | None:
        """Return it, None where there is no policy and no server; what is known of policies may be ten seconds old.

        That there is none may be two minutes old.
        """

    def forget(self) -> None:
        """Read again when asked for: something has changed here."""


class NoGuards:
    """Nothing is looked at."""

    async def state(self) -> GuardState | None:
        """Return None."""
        return None

    def forget(self) -> None:
        """Know nothing, as before."""
