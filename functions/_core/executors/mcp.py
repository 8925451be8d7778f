"""Parameters and outputs of the executor `mcp`, which calls a tool of an MCP server."""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field, model_validator

from functions._core.executors.parameters import ExecutorParameters
from functions._core.records.json_text import json_size
from functions._core.records.values import Model

MOST_ARGUMENTS_BYTES = 64 * 1024
"""Bytes of all arguments of a call, as JSON."""


class McpParameters(ExecutorParameters):
    """One call of a tool."""

    server: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,39}$")]
    """The server, by the name that the worker's owner gives it (`WORKER_MCP_<NAME>_URL`)."""
    tool: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,128}$")]
    """The tool, as the server names it; the worker's owner says which ones may be called."""
    arguments: Mapping[str, Any] = {}
    """What the tool is called with, 64 KiB at most."""
    timeout_seconds: float = Field(default=60, ge=1, le=3_600)
    """How long the server may take."""

    @model_validator(mode="after")
    def _bounded(self) -> "McpParameters":
        if json_size(self.arguments) > MOST_ARGUMENTS_BYTES:
            raise ValueError(f"has arguments of more than {MOST_ARGUMENTS_BYTES} bytes")
        return self


class McpOutputs(Model):
    """The outputs of a call that has succeeded."""

    result: Any
    """The structured content of the result, else its content."""


MODELS: Mapping[str, type[ExecutorParameters]] = {"mcp": McpParameters}
"""The model of the parameters."""
