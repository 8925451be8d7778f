"""The executors that there are: those of Flow C, and those that other packages bring (`flowc.executors`)."""

from collections.abc import Mapping, Sequence
from importlib.metadata import entry_points
from itertools import chain
from pkgutil import resolve_name
from typing import Any

from functions._executors.port import JobExecutor
from functions._executors.settings import ExecutorSettings

GROUP = "flowc.executors"
"""The entry point group by which other packages bring executors: name = "module:Class"."""

OWN: Mapping[str, str] = {
    "command": "functions._executors.command:CommandExecutor",
    "python": "functions._executors.python:PythonExecutor",
    "container": "functions._executors.container:ContainerExecutor",
    "kubernetes": "functions._executors.kubernetes:KubernetesExecutor",
    "flux": "functions._executors.flux:FluxExecutor",
    "k8s_job": "functions._executors.k8s_job:K8sJobExecutor",
    "http": "functions._executors.http:HttpExecutor",
    "function": "functions._executors.function:FunctionExecutor",
    "code_forge": "functions._executors.code_forge:CodeForgeExecutor",
    "mcp": "functions._executors.mcp:McpExecutor",
    "scan": "functions._executors.scan:ScanExecutor",
    "github_actions": "functions._executors.github_actions:GithubActionsExecutor",
    "gitlab_ci": "functions._executors.gitlab_ci:GitlabCiExecutor",
    "jenkins": "functions._executors.jenkins:JenkinsExecutor",
    "pytest": "functions._executors.local_tests:PytestExecutor",
    "test_command": "functions._executors.local_tests:SuiteCommandExecutor",
    "argocd": "functions._executors.argocd:ArgocdExecutor",
    "helm": "functions._executors.helm:HelmExecutor",
    "sam": "functions._executors.sam:SamExecutor",
    "terraform": "functions._executors.terraform:TerraformExecutor",
    "forge_validate_code": "functions._executors.forge.validate_code:ValidateCodeExecutor",
    "forge_run_tests": "functions._executors.forge.run_tests:RunTestsExecutor",
    "forge_gate": "functions._executors.forge.gate:GateExecutor",
    "forge_merge_request": "functions._executors.forge.merge_request:MergeRequestExecutor",
    "forge_select_template": "functions._executors.forge.select_template:SelectTemplateExecutor",
    "forge_compose_code": "functions._executors.forge.compose_code:ComposeCodeExecutor",
    "forge_package": "functions._executors.forge.package:PackageExecutor",
}
"""The executors of Flow C by name: where each is. One is imported when a worker asks for it."""

FORGE = "forge"
"""A name for all executors that are stages of the code forge."""

PARTS = ("name", "family", "task_types", "Parameters", "Outputs", "start", "poll", "cancel", "check", "aclose")
"""What an executor has."""


class UnknownExecutor(ValueError):
    """There is no such executor, or it cannot be made."""


def known_executors() -> Sequence[str]:
    """Return the names of all executors that there are here."""
    return sorted({*OWN, *(entry.name for entry in entry_points(group=GROUP))})


def executor_named(name: str, settings: ExecutorSettings) -> JobExecutor[Any]:
    """Return a new executor, by its name or as `module:Class`; raise `UnknownExecutor`.

    A name of Flow C's own is never that of another package: C1 checks plans against the model that it knows.
    """
    if ":" in name:
        return _checked(_made(name, name, settings), name)
    brought = next((entry.value for entry in entry_points(group=GROUP) if entry.name == name), None)
    where = OWN.get(name) or brought
    if where is None:
        raise UnknownExecutor(f"there is no executor {name[:60]!r}; there are {', '.join(known_executors())}")
    made = _checked(_made(name, where, settings), where)
    if made.name != name:
        raise UnknownExecutor(f"the executor {name} ({where}) calls itself {made.name!r}")
    return made


def executors_named(names: str, settings: ExecutorSettings) -> Sequence[JobExecutor[Any]]:
    """Return the executors of a list with commas between, each once; raise `UnknownExecutor`.

    `forge` stands for all stages of the code forge.
    """
    stages = [name for name, where in OWN.items() if where.startswith("functions._executors.forge.")]
    listed = (stages if name == FORGE else [name] for name in map(str.strip, names.split(",")) if name)
    wanted = dict.fromkeys(chain.from_iterable(listed))
    if not wanted:
        raise UnknownExecutor(f"name at least one executor; there are {', '.join(known_executors())}")
    return [executor_named(name, settings) for name in wanted]


def _made(name: str, where: str, settings: ExecutorSettings) -> JobExecutor[Any]:
    try:
        made: JobExecutor[Any] = resolve_name(where)(settings)
    except (ImportError, AttributeError, TypeError, ValueError) as error:
        raise UnknownExecutor(f"the executor {name} cannot be made: {error}") from error
    return made


def _checked(made: JobExecutor[Any], where: str) -> JobExecutor[Any]:
    """Refuse what is no executor, and another one with a name of ours."""
    lacks = [part for part in PARTS if not hasattr(made, part)]
    if lacks:
        raise UnknownExecutor(f"{where} is no executor: it has no {', '.join(lacks)}")
    if made.name in OWN and not where.startswith("functions."):
        raise UnknownExecutor(f"{where} calls itself {made.name!r}, which is an executor of Flow C")
    return made
