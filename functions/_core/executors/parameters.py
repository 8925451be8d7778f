"""The base of the parameters of executors, and what is wrong with parameters before and after they are resolved."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeVar

from pydantic import ConfigDict, Field, ValidationError

from functions._core.decision.references import MARKS
from functions._core.errors import Rejected
from functions._core.records.values import JsonObject, Model

SAID = frozenset({"provider", "action", "compensates", "task_type"})
"""The parameters that every executor knows and no plan has to think of."""

FAULTS_NAMED = 20
"""Faults of the parameters of one task that are named; of more nobody needs each."""


class ParameterPart(Model):
    """Base of an object within parameters: a member that nobody knows is a fault."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)


class ExecutorParameters(ParameterPart):
    """Base of the parameters of an executor."""

    provider: str = Field(default="", max_length=100)
    """The name of the executor."""
    action: str = ""
    """Of a compensation: what it is to do, as the platform says it."""
    compensates: Mapping[str, Any] = {}
    """Of a compensation: the ticket whose work it takes back, as the platform says it."""
    task_type: str = ""
    """Of a compensation: the kind of work that undoing is, where the plan names one."""


P = TypeVar("P", bound=ExecutorParameters)


def checked_parameters(model: type[P], parameters: JsonObject) -> P:
    """Return parameters whose references are resolved; raise `Rejected`, code `bad_parameters`, with all faults."""
    try:
        return model.model_validate(parameters)
    except ValidationError as error:
        faults = [f"parameters{where}: {text}" for where, text in _faults(model, error, parameters, frozenset())]
        raise Rejected("; ".join(faults[:FAULTS_NAMED]), code="bad_parameters") from None


def parameter_faults(model: type[ExecutorParameters], parameters: JsonObject) -> Sequence[tuple[str, str]]:
    """Return the faults of parameters as a plan has them: where, as `.headers.accept` or `.argv[0]`, and a sentence.

    A reference counts as present and of any type. No sentence repeats a value, which may be secret.
    """
    try:
        model.model_validate(parameters)
    except ValidationError as error:
        return tuple(_faults(model, error, parameters, MARKS))[:FAULTS_NAMED]
    return ()


def _faults(
    model: type[ExecutorParameters], error: ValidationError, parameters: JsonObject, marks: frozenset[str]
) -> Iterator[tuple[str, str]]:
    """Yield the faults, but for those in the place of an object with one of `marks`."""
    for fault in error.errors(include_url=False, include_input=False, include_context=False):
        where, referred = _place(fault["loc"], parameters, marks)
        if referred:
            continue
        if fault["type"] == "extra_forbidden":
            known = ", ".join(field.alias or name for name, field in model.model_fields.items() if name not in SAID)
            top = len(fault["loc"]) == 1
            yield where, f"is no parameter of this executor; known are {known}" if top else "is not known here"
        elif fault["type"] == "missing":
            yield where, "is missing"
        else:
            yield where, _sentence(fault["msg"])


def _place(location: Sequence[str | int], parameters: JsonObject, marks: frozenset[str]) -> tuple[str, bool]:
    """Return a place in words, and whether a reference stands there or above it.

    Of a union pydantic names the member in between: a part that leads nowhere is left out, but for the last one.
    """
    where, value = "", _as_any(parameters)
    for number, part in enumerate(location):
        if _is_reference(value, marks):
            return where, True
        if isinstance(value, Mapping) and part in value:
            where, value = f"{where}.{part}", value[part]
        elif isinstance(value, list | tuple) and isinstance(part, int) and part < len(value):
            where, value = f"{where}[{part}]", value[part]
        elif number == len(location) - 1 and isinstance(value, Mapping):
            return f"{where}.{part}", False
    return where, _is_reference(value, marks)


def _as_any(value: object) -> Any:  # noqa: ANN401 any JSON
    return value


def _is_reference(value: object, marks: frozenset[str]) -> bool:
    return isinstance(value, Mapping) and not marks.isdisjoint(value)


def _sentence(message: str) -> str:
    """Return what pydantic says as the end of a sentence about the field."""
    text = message.removeprefix("Value error, ")
    return text.replace("Input should", "should", 1) if text.startswith("Input should") else text
