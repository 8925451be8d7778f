"""`docs/reference/settings.md`: every setting with its meaning, its unit, its default and its limits."""

from collections.abc import Iterator, Mapping
from typing import Any, Literal, get_args, get_origin

import annotated_types
from pydantic.fields import FieldInfo

from functions._cli.options import DEFAULT_URL
from functions._engine.secrets import NAMED
from functions._engine.settings import HERE, PREFIX, Settings
from functions._executors.settings import PREFIX as WORKER
from functions._executors.settings import ExecutorSettings
from functions._hosts.aws import environment as aws
from functions._hosts.knative import process as knative
from infra.generate.pages.markdown import bullets, code, page, sentence, text

INTRODUCTION = """
The platform reads its settings from environment variables. A setting that is empty counts as not set.
`flowc up`, `flowc migrate` and `flowc backup` read a file `.env` in the current folder, too, if there is one:
`NAME=value` lines with the names below, such as those of `.env.example`; lines for other programs are ignored. An
option counts more than the environment, and the environment, even an empty variable, more than the file. The file is
refused when it belongs to somebody else, when others may write it, or when it holds a secret that others may read.
A variable that begins with `FLOWC_` and is not a setting is an error: all that are wrong are named at the start.
"""

UNITS = {"seconds": "seconds", "days": "days", "bytes": "bytes"}
"""The last word of a name says the unit of its value."""

FROM_CLUSTER = {
    "K_SINK": "Address of the broker. A SinkBinding of the Service sets it.",
    "K_CE_OVERRIDES": "Extension attributes that each event gets. The SinkBinding sets it.",
    "PORT": f"Port to listen on where `{PREFIX}PORT` is not set. Knative sets it.",
}
DEFAULTS = {
    "data": f"{code(HERE)} in the current folder if it is there, else `$XDG_DATA_HOME/flowc` or `~/.local/share/flowc`"
}
"""Defaults that are found at the start."""

LIMITS: Mapping[type, tuple[str, str]] = {
    annotated_types.Ge: ("ge", "at least"),
    annotated_types.Gt: ("gt", "more than"),
    annotated_types.Le: ("le", "at most"),
    annotated_types.Lt: ("lt", "less than"),
    annotated_types.MinLen: ("min_length", "length at least"),
}


def settings() -> str:
    """Return the page."""
    return page("Settings", INTRODUCTION, _platform(), _clients(), _executors(), _knative(), _lambda())


def fields() -> Mapping[str, FieldInfo]:
    """Return the settings by name: those of `Settings` itself, then those of its bases."""
    own = {name: field for name, field in Settings.model_fields.items() if name in Settings.__annotations__}
    return own | Settings.model_fields


def named(field: str) -> str:
    """Return the variable of a field, as text that is typed."""
    return code(PREFIX + field.upper())


def default(field: FieldInfo) -> str:
    """Return the default of a setting as it would be written in a variable; empty without one."""
    value = field.default
    if value is None:
        return ""
    if isinstance(value, tuple | frozenset):
        return ",".join(sorted(value))
    return str(value).lower() if isinstance(value, bool) else f"{value:g}" if isinstance(value, float) else str(value)


def _platform() -> Iterator[str]:
    yield "## Platform"
    yield bullets(f"{named(name)}: {about(name, field)}" for name, field in fields().items())


def about(name: str, field: FieldInfo) -> str:
    """Return the meaning of a setting, its unit, its default and its limits."""
    unit = UNITS.get(name.rpartition("_")[2])
    facts = [
        f"Unit: {unit}." if unit else "",
        f"Default: {DEFAULTS.get(name, code(default(field)))}." if default(field) else "Not set by default.",
        sentence(f"Value: {', '.join(limits)}" if (limits := [*_limits(field)]) else ""),
    ]
    return " ".join([sentence(field.description or ""), *filter(None, facts)])


def _limits(field: FieldInfo) -> Iterator[str]:
    words: Any = field.annotation
    if get_origin(words) is Literal:
        yield f"one of {', '.join(map(code, get_args(words)))}"
    for limit in field.metadata:
        if type(limit) in LIMITS:
            attribute, says = LIMITS[type(limit)]
            yield f"{says} {getattr(limit, attribute)}"


def _clients() -> Iterator[str]:
    yield "## Command line and workers"
    yield bullets(
        (
            f"{named('url')}: Address of the platform. Default: {code(DEFAULT_URL)}.",
            f"{named('api_key')}: Key that the platform asks for. Not set by default.",
        )
    )
    yield text("All other options of a worker are options of [`flowc worker`](cli.md#flowc-worker).")


def _executors() -> Iterator[str]:
    yield "## Executors of a worker"
    yield text("`flowc worker --executor` reads these; see [Executors](../guides/executors.md).")
    fields = {name: field for name, field in ExecutorSettings.model_fields.items() if not field.exclude}
    yield bullets(f"{code(WORKER + name.upper())}: {about(name, field)}" for name, field in fields.items())


def _knative() -> Iterator[str]:
    yield "## Required on Knative"
    needed = {**knative.REQUIRED, "api_key": "clients come from elsewhere; only `api` needs it"}
    yield bullets(f"{named(name)}: {sentence(why)}" for name, why in needed.items())
    yield text("The cluster sets these:")
    yield bullets(f"{code(name)}: {meaning}" for name, meaning in FROM_CLUSTER.items())


def _lambda() -> Iterator[str]:
    yield "## Required on AWS Lambda"
    yield bullets(f"{named(name)}: {sentence(why)}" for name, why in aws.REQUIRED.items())
    yield bullets(
        f"{named(name)}, for `{function}` only: {sentence(why)}"
        for function, needed in aws.OF_FUNCTIONS.items()
        for name, why in needed.items()
    )
    secrets = ", ".join(f"{named(name)} ({named(f'{name}_secret')})" for name in NAMED)
    yield text(f"A secret may hold {secrets}: the setting in brackets names it.")
