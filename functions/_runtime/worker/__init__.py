"""The reference worker: takes tickets over HTTP, runs them in its slots and reports how they end."""

from functions._runtime.worker.executors import CallableExecutor, SimulatedExecutor
from functions._runtime.worker.shell import ShellExecutor
from functions._runtime.worker.tasks import Assignment, Executor, TaskFailed
from functions._runtime.worker.worker import Worker, WorkerConfig

__all__ = [
    "Assignment",
    "CallableExecutor",
    "Executor",
    "ShellExecutor",
    "SimulatedExecutor",
    "TaskFailed",
    "Worker",
    "WorkerConfig",
]
