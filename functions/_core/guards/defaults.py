"""The guard policies that come with Flow C; they hold where `FLOWC_GUARD_DEFAULTS` is on, and nowhere else.

A stored policy of the same name holds in place of one of these, so one of them can be changed, or left out.
"""

from collections.abc import Iterable, Sequence

from functions._core.guards.policy import GuardAction, GuardPolicy
from functions._core.records.values import EARLIEST, RiskBand, SecurityLevel, TaskType
from functions._core.slo.admission import FlowFit

DEFAULTS: Sequence[GuardPolicy] = (
    GuardPolicy(
        name="default-secrets",
        description="Parameters with a secret in them wait for a person: a plan is stored, shown and told.",
        secrets=True,
        action=GuardAction.QUARANTINE,
        created_at=EARLIEST,
        updated_at=EARLIEST,
    ),
    GuardPolicy(
        name="default-restricted-http",
        description="What is RESTRICTED leaves by no HTTP request of a plan.",
        providers=("http",),
        security_level_at_most=SecurityLevel.CONFIDENTIAL,
        action=GuardAction.DENY,
        created_at=EARLIEST,
        updated_at=EARLIEST,
    ),
    GuardPolicy(
        name="default-critical-commands",
        description="In a flow of the highest risk, commands and scripts wait for a person.",
        flows=FlowFit(risk_bands=(RiskBand.CRITICAL,)),
        task_types=(TaskType.EXECUTE,),
        allowed_providers=("http", "function"),
        action=GuardAction.QUARANTINE,
        created_at=EARLIEST,
        updated_at=EARLIEST,
    ),
)
"""They are off until somebody switches them on: a platform that has run for a while must not stop by an update."""


def with_defaults(stored: Iterable[GuardPolicy]) -> Sequence[GuardPolicy]:
    """Return stored policies with those of the defaults that none of them replaces, by name."""
    known = {policy.name: policy for policy in (*DEFAULTS, *stored)}
    return [known[name] for name in sorted(known)]
