"""What is sent to tools and to the Model Context Protocol, and what they answer."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, StrictInt, StrictStr

from functions._core.records.values import Model

MAX_ID = 2**53


class ToolCallForm(Model):
    """Arguments for a tool, as its schema wants them."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    arguments: Mapping[str, Any] = {}


class ToolAnswer(Model):
    """What a tool has answered."""

    tool: str
    result: Any


class RpcMessage(Model):
    """A message of JSON-RPC 2.0: a request, or without an `id` a notification."""

    jsonrpc: Literal["2.0"]
    id: Annotated[StrictStr, Field(max_length=255)] | Annotated[StrictInt, Field(ge=-MAX_ID, le=MAX_ID)] | None = None
    method: Annotated[str, Field(max_length=100)]
    params: Mapping[str, Any] = {}


class RpcError(Model):
    """What is wrong with a request."""

    code: int
    message: str


class RpcAnswer(Model):
    """The answer to a request: `result`, or `error`."""

    jsonrpc: Literal["2.0"]
    id: str | int
    result: Mapping[str, Any] | None = None
    error: RpcError | None = None
