"""Tools that people register: what agents may call beside the platform's own operations."""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any

from pydantic import ConfigDict, Field, StrictBool, StringConstraints, model_validator

from functions._core.decision.form_limits import form_fault
from functions._core.named_records import NamedRecords
from functions._core.records.json_text import json_size
from functions._core.records.values import Model, Timestamp

SPACE = "tools"
"""The space of `KeyValues` that holds the tools, by name."""

MAX_TOOLS = 100
"""Tools of a platform: all are read and listed together."""

SCHEMA_BYTES = 8 * 1024
"""Bytes of a schema as JSON: it is part of every list of tools, and models pay for each word of that."""

TOOL_NAME = r"^[a-z0-9](?:[a-z0-9_-]{0,62}[a-z0-9])?$"
"""The name of a tool: models and clients take no dots and no spaces in one."""

Sentence = Annotated[
    str, StringConstraints(min_length=1, max_length=1000, pattern=r"^[^\x00-\x08\x0b-\x1f\x7f-\x9f]*$")
]


class ToolForm(Model):
    """What a client sends to register or replace a tool. A field that is not known is refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    description: Sentence
    """What it does, for the models that choose among tools."""
    input_schema: Mapping[str, Any]
    """JSON Schema (2020-12) of its arguments, an object; at most 8 KiB, references within it alone."""
    output_schema: Mapping[str, Any] | None = None
    """JSON Schema of its result; None: any JSON value."""
    url: Annotated[str, Field(min_length=1, max_length=2048)]
    """Where it is called: arguments are sent there by POST as JSON, and the result is the JSON of the answer."""
    server_tool: Annotated[str, Field(min_length=1, max_length=128)] | None = None
    """The tool's name at the MCP server at `url` (streamable HTTP); None: `url` is no such server."""
    destructive: StrictBool = True
    """Whether it may change or remove something: then each call is confirmed by the name of the tool."""
    timeout_seconds: Annotated[int, Field(ge=1, le=25)] = 10
    """Seconds within which the answer has to come."""

    @model_validator(mode="after")
    def _sound(self) -> "ToolForm":
        for fault in self._faults():
            raise ValueError(fault)
        return self

    def _faults(self) -> Iterator[str]:
        for name, schema in (("input_schema", self.input_schema), ("output_schema", self.output_schema)):
            if schema is None:
                continue
            if json_size(schema) > SCHEMA_BYTES:
                yield f"{name} has more than {SCHEMA_BYTES} bytes"
            fault = form_fault(schema)
            if fault is not None:
                yield f"{name}: {fault}"
        if self.input_schema.get("type") != "object":
            yield "input_schema: its type has to be object"
        properties = self.input_schema.get("properties", {})
        if not isinstance(properties, Mapping) or CONFIRM in properties:
            yield f"input_schema: properties has to be an object without {CONFIRM!r}, which confirms a call"


CONFIRM = "confirm"
"""The argument by which an agent confirms a call; it never reaches the tool."""


class Tool(ToolForm):
    """A tool as it is stored."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    name: str
    """Its name."""
    created_by: str
    """Who registered it, or replaced it last."""
    created_at: Timestamp
    """When it was registered."""
    updated_at: Timestamp
    """When somebody changed it last."""


TOOLS = NamedRecords(SPACE, Tool, MAX_TOOLS)
"""The registered tools."""
