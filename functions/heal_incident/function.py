"""Heal incidents by playbooks: act within limits, watch whether it has helped, and call a person where it has not.

Consumes healing.due, which is committed with incident.raised where a playbook may want it, and clock.ticked, for the
runs that are under way: each is looked at when its action has had its time.
Emits incident.resolved and incident.escalated, and healing.action_requested to whoever restarts and scales workers. The
steps of playbooks are commands of the platform, under the name healing:<playbook>.
Gives up on an incident after its last step, three actions, or with the tenth action of an hour: a person has to look.
"""

from functions._core.events.healing import HealingDue
from functions._core.healing.healing import Healing
from functions._core.healing.runs import HealingRun


async def heal_incident(healing: Healing, about: HealingDue | str) -> HealingRun | None:
    """Take an incident up, or look at a run that is under way, by its key; return the run, None where there is none."""
    return await (healing.look(about) if isinstance(about, str) else healing.incident(about))
