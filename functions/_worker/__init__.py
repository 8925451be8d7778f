"""The reference worker: takes tickets over HTTP, runs them in its slots and reports how they end."""

from functions._worker.executors import CallableExecutor, SimulatedExecutor
from functions._worker.shell import ShellExecutor
from functions._worker.tasks import Assignment, Executor, TaskFailed
from functions._worker.worker import WorkerConfig, WorkerProcess

__all__ = [
    "Assignment",
    "CallableExecutor",
    "Executor",
    "ShellExecutor",
    "SimulatedExecutor",
    "TaskFailed",
    "WorkerConfig",
    "WorkerProcess",
]
