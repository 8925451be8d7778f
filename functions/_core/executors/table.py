"""The executors that Flow C brings: what `parameters.provider` may name, for which types of tasks.

C1 checks the parameters of a task that names one of them against its model, and the task's tickets go only to workers
that offer its capability. A provider that is not in the table is left alone: a worker of a user's own may have its own
meaning for the word. So is one that deploys, tests or validates and comes without a word more: none of these executors
can do anything then, and there are plans that tell workers of their own in this way which tool they use.
"""

from collections.abc import Iterator, Mapping
from functools import cache
from itertools import islice
from typing import NamedTuple

from functions._core.decision.control_checks import Scope
from functions._core.executors import deploy
from functions._core.executors.parameters import ExecutorParameters, parameter_faults
from functions._core.records.models import Reason
from functions._core.records.values import JsonObject, TaskType

MOST_ERRORS = 100
"""Errors of the tasks of one scope that are named: reasons are kept on the flow's row, which must stay small."""


class ExecutorEntry(NamedTuple):
    """What is known of an executor without importing it."""

    family: str
    """The kind of work, in lower case: a worker that has the executor offers it as a capability."""
    task_types: frozenset[TaskType]
    """The types of the tasks that it does."""
    least_timeout_ms: int = 0
    """How long an attempt may take at least where the plan does not say, in milliseconds: people may have to decide."""


EXECUTE = "execute"
"""The family of the executors that run something."""

BARE = frozenset({"provider", "action"})
"""What says nothing of what is to be deployed, tested or validated."""

WORK = frozenset({TaskType.EXECUTE, TaskType.QUERY, TaskType.TRANSFORM, TaskType.COMPENSATE})
"""The types of tasks that are done by whatever runs."""

TESTS = frozenset({TaskType.TEST})
BUILDS = frozenset({TaskType.BUILD})
VALIDATES = frozenset({TaskType.VALIDATE})
FORGE = "forge"
"""The family of the stages of the code forge."""

MAKING_SECONDS, REVIEW_SECONDS = 1_800, 86_400
"""How long the code forge makes an artifact at most, and how long people may take to decide about it by default."""


EXECUTORS: Mapping[str, ExecutorEntry] = {
    "command": ExecutorEntry(EXECUTE, WORK),
    "python": ExecutorEntry(EXECUTE, WORK),
    "http": ExecutorEntry(EXECUTE, WORK),
    "container": ExecutorEntry(EXECUTE, WORK),
    "k8s_job": ExecutorEntry(EXECUTE, WORK),
    "function": ExecutorEntry(EXECUTE, WORK),
    "code_forge": ExecutorEntry("build", BUILDS, (MAKING_SECONDS + REVIEW_SECONDS) * 1_000),
    "mcp": ExecutorEntry("tool", frozenset({TaskType.TOOL, TaskType.COMPENSATE})),
    "scan": ExecutorEntry("validate", VALIDATES),
    "github_actions": ExecutorEntry("test", TESTS),
    "gitlab_ci": ExecutorEntry("test", TESTS),
    "jenkins": ExecutorEntry("test", TESTS),
    "pytest": ExecutorEntry("test", TESTS),
    "test_command": ExecutorEntry("test", TESTS),
    "kubernetes": ExecutorEntry(deploy.FAMILY, deploy.DEPLOYING),
    "flux": ExecutorEntry(deploy.FAMILY, deploy.DEPLOYING),
    "argocd": ExecutorEntry(deploy.FAMILY, deploy.DEPLOYING),
    "helm": ExecutorEntry(deploy.FAMILY, deploy.DEPLOYING),
    "terraform": ExecutorEntry(deploy.FAMILY, deploy.DEPLOYING),
    "sam": ExecutorEntry(deploy.FAMILY, deploy.DEPLOYING),
    "forge_validate_code": ExecutorEntry(FORGE, VALIDATES),
    "forge_run_tests": ExecutorEntry(FORGE, TESTS),
    "forge_gate": ExecutorEntry(FORGE, VALIDATES),
    "forge_merge_request": ExecutorEntry(FORGE, VALIDATES),
    "forge_select_template": ExecutorEntry(FORGE, BUILDS),
    "forge_compose_code": ExecutorEntry(FORGE, BUILDS),
    "forge_package": ExecutorEntry(FORGE, BUILDS | {TaskType.COMPENSATE}),
}
"""The executors by their names, which are words of the contract: none is ever given another meaning."""


def model_of(name: str) -> type[ExecutorParameters]:
    """Return the model of the parameters of an executor in the table."""
    return _models()[name]


@cache
def _models() -> Mapping[str, type[ExecutorParameters]]:
    # They are imported with the first plan that names an executor: most plans name none.
    from functions._core.executors import (  # noqa: PLC0415
        argocd,
        build,
        cluster,
        cluster_deploy,
        container,
        execute,
        forge,
        helm,
        mcp,
        sam,
        scan,
        terraform,
        testing,
    )

    modules = (
        argocd,
        build,
        cluster,
        cluster_deploy,
        container,
        execute,
        forge,
        helm,
        mcp,
        sam,
        scan,
        terraform,
        testing,
    )
    return {name: model for module in modules for name, model in module.MODELS.items()}


def executor_of(task_type: TaskType, parameters: JsonObject) -> str | None:
    """Return the name of the executor in the table that parameters name for a type of task; None for none."""
    name = parameters.get("provider")
    entry = EXECUTORS.get(name) if isinstance(name, str) else None
    if entry is None or task_type not in entry.task_types or (entry.family != EXECUTE and parameters.keys() <= BARE):
        return None
    return name


def capability_of(name: str) -> str:
    """Return what a worker offers that has an executor of the table: `execute:command`."""
    return f"{EXECUTORS[name].family}:{name}"


def capabilities_for(task_type: TaskType, parameters: JsonObject) -> tuple[str, ...]:
    """Return what a task asks of its worker by the executor that it names."""
    name = executor_of(task_type, parameters)
    return () if name is None else (capability_of(name),)


def least_timeout_of(task_type: TaskType, parameters: JsonObject) -> int:
    """Return how long an attempt at a task may take at least that does not say, in milliseconds."""
    name = executor_of(task_type, parameters)
    return 0 if name is None else EXECUTORS[name].least_timeout_ms


def compensation_for(task_type: TaskType, task_id: str, parameters: JsonObject) -> JsonObject | None:
    """Return the parameters of the compensation that a task has by its executor; None for none."""
    name = executor_of(task_type, parameters)
    if name is None or EXECUTORS[name].family != deploy.FAMILY:
        return None
    return deploy.undoing(model_of(name), task_id, parameters)


def executor_errors(scope: Scope) -> Iterator[Reason]:
    """Yield what is wrong with the parameters of tasks that name an executor of the table, compensations included."""
    yield from islice(_errors(scope), MOST_ERRORS)


def _errors(scope: Scope) -> Iterator[Reason]:
    for position, task in enumerate(scope.tasks):
        where = f"{scope.where}[{position}]"
        yield from _faults(task.task_type, task.parameters, f"{where}.parameters")
        if task.compensation is not None:
            yield from _faults(TaskType.COMPENSATE, task.undo_parameters, f"{where}.compensation.parameters")


def _faults(task_type: TaskType, parameters: JsonObject, where: str) -> Iterator[Reason]:
    name = executor_of(task_type, parameters)
    if name is None:
        return
    for place, text in parameter_faults(model_of(name), parameters):
        yield Reason(
            code="bad_parameters", message=f"{where}{place}: {text} (provider {name})", where=f"{where}{place}"
        )
