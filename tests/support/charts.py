"""Renders the templates of a Helm chart, as far as the project's own charts go: what it does not know, it refuses.

Known are fields, `if`, `else` and `end`, and the functions default, nindent, quote and toYaml. Helm itself is the judge
where it is installed; values are what `values.yaml` says, with `changes` laid over them.
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

LEFT = re.compile(r"\s+(?=\{\{-)")
RIGHT = re.compile(r"(?<=-\}\})\s+")


def rendered_chart(
    folder: Path, release: str, namespace: str, changes: Mapping[str, Any] | None = None
) -> Iterator[Any]:
    """Yield the documents that the templates of a chart make."""
    chart = yaml.safe_load((folder / "Chart.yaml").read_text(encoding="utf-8"))
    values = merged(yaml.safe_load((folder / "values.yaml").read_text(encoding="utf-8")), changes or {})
    scope = {
        "Chart": {"Name": chart["name"], "AppVersion": chart["appVersion"]},
        "Release": {"Name": release, "Namespace": namespace, "Service": "Helm"},
        "Values": values,
    }
    for path in sorted((folder / "templates").glob("*.yaml")):
        for document in yaml.safe_load_all(rendered_text(path.read_text(encoding="utf-8"), scope)):
            if document is not None:
                yield document


def merged(values: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return values with changes laid over them."""
    both = {key: merged(values.get(key, {}), value) for key, value in changes.items() if isinstance(value, Mapping)}
    return {**values, **changes, **both}


def rendered_text(text: str, scope: Mapping[str, Any]) -> str:
    """Return a template filled in; raise `ValueError` for what is not known here."""
    text = RIGHT.sub("", LEFT.sub("", text))
    made: list[str] = []
    shown = [True]
    for place, piece in enumerate(re.split(r"\{\{-?\s*(.*?)\s*-?\}\}", text, flags=re.DOTALL)):
        word, _, rest = piece.partition(" ")
        if place % 2 == 0:
            made += [piece] if all(shown) else []
        elif word == "if":
            shown.append(bool(value_of(rest, scope)))
        elif piece == "else":
            shown[-1] = not shown[-1]
        elif piece == "end":
            shown.pop()
        elif all(shown):
            made.append(str(value_of(piece, scope)))
    if shown != [True]:
        raise ValueError("an if has no end")
    return "".join(made)


def value_of(code: str, scope: Mapping[str, Any]) -> Any:
    """Return the value of a pipeline."""
    first, *calls = (part.split() for part in code.split("|"))
    value = call(first[0], first[1:], [], scope) if len(first) > 1 else term(first[0], scope)
    for name, *arguments in calls:
        value = call(name, arguments, [value], scope)
    return value


def call(name: str, arguments: list[str], last: list[Any], scope: Mapping[str, Any]) -> Any:
    """Return what a function makes of its arguments; that of the pipeline comes last."""
    given = [*(term(one, scope) for one in arguments), *last]
    if name == "quote":
        return '"' + str(given[0]).replace("\\", "\\\\").replace('"', '\\"') + '"'
    if name == "default":
        return given[1] or given[0]
    if name == "toYaml":
        return yaml.safe_dump(given[0]).rstrip("\n")
    if name == "nindent":
        return "".join(f"\n{' ' * given[0]}{line}" for line in given[1].splitlines())
    raise ValueError(f"{name} is not known here")


def term(text: str, scope: Mapping[str, Any]) -> Any:
    """Return a field or a number; a field that is not there is a mistake of the chart."""
    if text.isdecimal():
        return int(text)
    if not text.startswith("."):
        raise ValueError(f"{text} is not known here")
    value: Any = scope
    for name in text.removeprefix(".").split("."):
        value = value[name]
    return value
