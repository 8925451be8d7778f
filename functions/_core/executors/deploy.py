"""Parameters and outputs that all executors of the family `deploy` share, and the compensation that follows from them.

A deployment is undone by the same executor: it goes back to the revision that was there before, which the outputs of
the deployment name. So a saga needs no word about it.
"""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from functions._core.executors.parameters import ExecutorParameters
from functions._core.records.values import JsonObject, Model, TaskType

FAMILY = "deploy"

DEPLOYING = frozenset({TaskType.DEPLOY, TaskType.COMPENSATE})
"""The types of the tasks that executors of the family do; a freeze holds back those of type DEPLOY."""

ROLLBACKS = frozenset({"rollback", "rollback_deployment"})
"""The actions that go back; the second one is what a compensation of a DEPLOY task is told that names none."""

PREVIOUS = "/previous_revision"
"""Where the outputs of a deployment name the revision to go back to."""

Revision = Annotated[str, Field(max_length=500)]


class DeployParameters(ExecutorParameters):
    """What deployments share. The executor says what a revision is: a commit, a tag, a number of its history."""

    TARGET: ClassVar[frozenset[str]] = frozenset()
    """The parameters that say what is deployed and where. The compensation has them, too; without any, a task has no
    compensation unless it declares one."""

    action: Literal["", "deploy", "rollback", "rollback_deployment"] = ""
    """deploy, or rollback: back to `revision`, or to the one before the present one."""
    revision: Revision | None = None
    """What is deployed, or gone back to. An empty one, of a rollback, says that there was none before."""
    service: Annotated[str, Field(max_length=255)] = ""
    """The service that it deploys, as SLOs and freezes name it: while it is frozen the ticket waits."""
    rollback_on_failure: bool = True
    """Whether a deployment that fails, or does not become healthy in time, is taken back before the ticket fails."""
    health_timeout_seconds: float = Field(default=600, ge=1, le=86_400)
    """How long it may take to become healthy; the time of the ticket is a limit, too."""

    @property
    def rolls_back(self) -> bool:
        """Whether it goes back to a revision that was there before."""
        return self.action in ROLLBACKS


class DeployOutputs(Model):
    """The outputs of a deployment that has succeeded."""

    revision: str
    """What runs now."""
    previous_revision: str = ""
    """What ran before, as a rollback takes it for `revision`; empty for a first deployment."""
    health: str = "Healthy"
    """How it is, in the word of its service."""
    url: str = ""
    """Where a person sees it."""


def undoing(model: type[ExecutorParameters], task_id: str, parameters: JsonObject) -> JsonObject | None:
    """Return the parameters of the compensation that follows from a task's parameters; None where none follows."""
    if not issubclass(model, DeployParameters) or not model.TARGET:
        return None
    target = {name: value for name, value in parameters.items() if name == "provider" or name in model.TARGET}
    return {**target, "action": "rollback", "revision": _previous(task_id)}


def undoing_of_item(undone: Mapping[str, Any], task_id: str, item_id: str) -> Mapping[str, Any]:
    """Return the parameters of the compensation of one item of a task's list, from those of the task.

    The output of the task is the list of those of its items; what an item goes back to, its own output says.
    """
    return {**undone, "revision": _previous(item_id)} if undone.get("revision") == _previous(task_id) else undone


def just_rolls_back(parameters: JsonObject) -> bool:
    """Whether parameters of a compensation say nothing, or to roll back and nothing else."""
    action = parameters.get("action", "rollback")
    return parameters.keys() <= {"action"} and isinstance(action, str) and action in ROLLBACKS


def _previous(task_id: str) -> JsonObject:
    return {"$output": task_id, "path": PREVIOUS}
