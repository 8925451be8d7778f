"""The freeze gate: what is frozen for a service, by the freezes that last. Pure.

A freeze of a service, or of everything, holds for the service by its name. One of a namespace holds for the services
that are in it: the namespace that is named, or else those that the SLOs of the service have as label `namespace`.
"""

from collections.abc import Iterable, Mapping, Sequence

from functions._core.slo.definition import Slo
from functions._core.slo.freezing import FreezeAction, FreezeEvent

BLOCKING = frozenset({FreezeAction.BLOCK_DEPLOY, FreezeAction.BLOCK_SCALE})
"""What forbids something; ALERT_ONLY only tells."""


def namespaces_of(slos: Iterable[Slo]) -> Mapping[str, frozenset[str]]:
    """Return the namespaces of each service, by the labels of its SLOs."""
    found: dict[str, frozenset[str]] = {}
    for slo in slos:
        if slo.namespace is not None:
            found[slo.service_name] = found.get(slo.service_name, frozenset()) | {slo.namespace}
    return found


def actions_of(events: Iterable[FreezeEvent]) -> tuple[FreezeAction, ...]:
    """Return what freezes do, each action once, in the order of the enumeration."""
    all_of_them = {action for event in events for action in event.actions}
    return tuple(action for action in FreezeAction if action in all_of_them)


def is_frozen(events: Sequence[FreezeEvent], action: FreezeAction | None) -> bool:
    """Whether freezes forbid an action; with None, whether they forbid anything."""
    done = set(actions_of(events))
    return bool(done & BLOCKING) if action is None else action in done
