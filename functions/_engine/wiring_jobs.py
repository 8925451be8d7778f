"""The function for jobs and the executors that it does them by, imported when there is something to do with jobs."""

from collections.abc import Sequence
from typing import Any

from functions._engine.settings import Settings, SettingsError
from functions._executors.own_jobs import OwnJobs
from functions._executors.own_worker import OwnWorkerDoors, Parameters
from functions._executors.port import JobExecutor, capabilities_of
from functions._executors.registry import UnknownExecutor, executors_named
from functions._executors.settings import ExecutorSettings
from functions.run_executor.function import run_executor

__all__ = [
    "OwnJobs",
    "OwnWorkerDoors",
    "Parameters",
    "capabilities",
    "check_executors",
    "own_executors",
    "run_executor",
]


def own_executors(settings: Settings) -> Sequence[JobExecutor[Any]]:
    """Return the executors that the settings name; raise `ValueError` for one whose jobs end with their process."""
    if not settings.executors:
        return ()
    found = executors_named(settings.executors, ExecutorSettings.from_environment(settings.environment))
    for one in found:
        if not getattr(one, "detached", False):
            text = f"the jobs of {one.name} end with the process that begins them, so a worker has to do them"
            raise UnknownExecutor(f"{text}: flowc worker --executor {one.name}")
    return found


def check_executors(settings: Settings) -> None:
    """Raise `SettingsError` where the settings name an executor that the platform cannot have."""
    try:
        own_executors(settings)
    except ValueError as error:
        raise SettingsError([f"FLOWC_EXECUTORS: {error}"]) from error


def capabilities(executors: Sequence[JobExecutor[Any]]) -> Sequence[str]:
    """Return what the platform's own worker offers: each executor by its name, never a family of work as a whole."""
    return sorted(capabilities_of(one)[1] for one in executors)


def _in_every_artifact() -> None:
    """Import what the registry imports by its name: an artifact has what can be reached by imports."""
    from functions._executors import (  # noqa: F401
        argocd,
        code_forge,
        flux,
        function,
        github_actions,
        gitlab_ci,
        http,
        jenkins,
        k8s_job,
        kubernetes,
    )
    from functions._executors.forge import gate  # noqa: F401
