"""References to secrets: `{"$secret": "<name>"}` in the parameters of a task stands for a value that is kept elsewhere.

It is filled in when an assignment is made for a worker, and stored nowhere. Only what the plan itself holds is a
reference: the content of an output, of an item or of an input is data, so no task can ask for a secret by what it
returns.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from functions._core.decision.references import INDEX, SECRET_NAME, ReferenceKind
from functions._core.decision.vocabulary import shown
from functions._core.records.values import JsonObject

SECRET = ReferenceKind.SECRET
"""The key that makes an object a reference to a secret."""

MOST_SECRETS = 100
"""References to secrets in the parameters of one task."""

Path = tuple[str | int, ...]
"""The members and entries that lead to a place, from the parameters on."""


@dataclass(frozen=True, slots=True)
class SecretReference:
    """One reference; `fault` names the error in its form."""

    path: Path
    name: str
    fault: str | None = None

    @property
    def pointer(self) -> str:
        """The place within the parameters as a JSON Pointer."""
        return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in self.path)


def find_secrets(parameters: JsonObject) -> tuple[SecretReference, ...]:
    """Return every reference to a secret in `parameters`, the malformed ones too."""
    found: list[SecretReference] = []
    open_: list[tuple[Path, Any]] = [((), parameters)]
    while open_:
        path, value = open_.pop()
        if isinstance(value, Mapping) and SECRET in value:
            found.append(_read(path, value))
            continue
        inside = value.items() if isinstance(value, Mapping) else enumerate(value)
        open_ += [((*path, key), part) for key, part in inside if isinstance(part, Mapping | list)]
    return tuple(reversed(found))


def with_secret(value: Any, path: Path, secret: str) -> Any:  # noqa: ANN401 any JSON
    """Return `value` with `secret` at `path`; only what leads there is copied."""
    if not path:
        return secret
    key: Any = path[0]
    copied: Any = list(value) if isinstance(value, list) else dict(value)
    copied[key] = with_secret(value[key], path[1:], secret)
    return copied


def values_at(parameters: JsonObject, pointers: Iterable[str]) -> tuple[str, ...]:
    """Return the texts that JSON Pointers point at; one that points at nothing is passed over."""
    found = []
    for pointer in pointers:
        value: Any = parameters
        for token in pointer.split("/")[1:]:
            name = token.replace("~1", "/").replace("~0", "~")
            if isinstance(value, list):
                value = value[int(name)] if INDEX.fullmatch(name) and int(name) < len(value) else None
            else:
                value = value.get(name) if isinstance(value, Mapping) else None
        if isinstance(value, str):
            found.append(value)
    return tuple(found)


def _read(path: Path, value: Mapping[str, Any]) -> SecretReference:
    name = value[SECRET]
    fault = None
    if not path:
        fault = "the parameters as a whole cannot be a secret"
    elif len(value) > 1:
        fault = f"a reference to a secret holds '{SECRET}' alone"
    elif not isinstance(name, str) or not SECRET_NAME.fullmatch(name):
        fault = f"'{SECRET}' is {shown(name)}, which is no name of a secret: letters, digits and _ . -, at most 100"
    return SecretReference(path, name if isinstance(name, str) else "", fault)
