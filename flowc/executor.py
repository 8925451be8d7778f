"""Executors of your own: what a ticket starts, how it is followed and cancelled. The guide is docs/guides/executors.md.

A worker runs one by `flowc worker --executor MODULE:CLASS`, or by its name where a package brings it in the entry point
group `flowc.executors`.
"""

from functions._core.executors.parameters import ExecutorParameters
from functions._core.records.values import Model as ExecutorOutputs
from functions._core.records.values import TaskType
from functions._executors.port import (
    CallFailed,
    JobContext,
    JobExecutor,
    JobFailed,
    JobHandle,
    JobRunning,
    JobState,
    JobSucceeded,
    ToolCheck,
)
from functions._executors.settings import ExecutorSettings

__all__ = [
    "CallFailed",
    "ExecutorOutputs",
    "ExecutorParameters",
    "ExecutorSettings",
    "JobContext",
    "JobExecutor",
    "JobFailed",
    "JobHandle",
    "JobRunning",
    "JobState",
    "JobSucceeded",
    "TaskType",
    "ToolCheck",
]
