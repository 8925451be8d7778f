"""The data that a person gives with a decision about a ticket, checked by the form that the ticket has.

The library is imported with the first form: no other request waits for it. It gets no way to fetch a schema, and the
limits of `form_limits` bound what a form and its data may cost.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from itertools import islice
from typing import TYPE_CHECKING, Any

from pydantic_core import ValidationError as InvalidText

from functions._core.decision.form_limits import data_fault, fits_pattern, form_fault
from functions._core.errors import Rejected
from functions._core.records.models import Reason
from functions._core.records.record import fields_of
from functions.api.problems import MAX_ERRORS, Itemised

if TYPE_CHECKING:
    from jsonschema import ValidationError
    from jsonschema.protocols import Validator

ROOT = "/data"
"""JSON Pointer of the data within the body of a decision."""

MAX_MESSAGE = 200
"""Characters of what is said of one fault."""


def check_data(form: Mapping[str, Any] | None, data: object) -> None:
    """Raise `Itemised`, status 422, for data that does not fit the form, with a JSON Pointer to each fault.

    Raises `Rejected`: status 413 for data that is too large, 409 for a form that is no schema or not within its limits.
    """
    if form is None:
        if data is not None:
            raise _refused([_fault("unexpected", "the ticket has no form, so no data is taken", ROOT)])
        return
    wrong = form_fault(form) or schema_fault(form)
    if wrong is not None:
        text = f"{wrong}: nobody can decide about this ticket; skip it, or give its flow another plan"
        raise Rejected(text, code="invalid_form", status=409)
    if data is None:
        raise _refused([_fault("missing", "is missing: the ticket asks for the data of its form", ROOT)])
    too_large = data_fault(form, data)
    if too_large is not None:
        raise Rejected(too_large, code="too_large", status=413)
    check_fits(form, data, ROOT)


def check_fits(form: Mapping[str, Any], data: object, root: str) -> None:
    """Raise `Itemised`, status 422, for data that does not fit a form within its limits; `root` is its JSON Pointer.

    Data that is too large for the form has been refused before.
    """
    faults = list(islice(_faults(form, data, root), MAX_ERRORS))
    if faults:
        raise _refused(faults)


def _faults(form: Mapping[str, Any], data: Any, root: str) -> Iterator[Reason]:  # noqa: ANN401 any JSON value
    try:
        for error in _validator()(form).iter_errors(data):
            where = "".join(f"/{_escaped(part)}" for part in error.absolute_path)
            yield _fault(str(error.validator), _in_words(error), f"{root}{where}")
    except ArithmeticError:
        yield _fault("not_checkable", "holds a number that the form cannot check", root)


def _in_words(error: "ValidationError") -> str:
    """Return the library's sentence, or where that repeats a long value, the keyword with what it asks for."""
    if len(error.message) <= MAX_MESSAGE:
        return error.message
    return f"does not fit {error.validator}: {json.dumps(error.validator_value)}"[:MAX_MESSAGE]


@cache
def _validator() -> "type[Validator]":
    """Return the class of validators, with the two keywords that are slow for some data replaced."""
    from jsonschema import Draft202012Validator, ValidationError, validators  # noqa: PLC0415 cold starts

    def pattern(_validator: object, wanted: str, text: object, _schema: object) -> Iterator[ValidationError]:
        if isinstance(text, str) and not _fits(wanted, text):
            yield ValidationError(f"does not fit the pattern {wanted!r}")

    def unique(_validator: object, wanted: object, items: object, _schema: object) -> Iterator[ValidationError]:
        if (
            wanted is True
            and isinstance(items, list)
            and len({json.dumps(i, sort_keys=True) for i in items}) < len(items)
        ):
            yield ValidationError("has an item twice")

    extend: Callable[..., type[Validator]] = validators.extend
    return extend(Draft202012Validator, {"pattern": pattern, "uniqueItems": unique})


def schema_fault(form: Mapping[str, Any]) -> str | None:
    """Return why a form is no JSON Schema; None when it is one."""
    from jsonschema import Draft202012Validator, FormatChecker, SchemaError  # noqa: PLC0415 cold starts

    try:
        Draft202012Validator.check_schema(form, format_checker=FormatChecker(()))
    except SchemaError as error:
        return f"the form is no JSON Schema: {error.json_path}: {error.message[:MAX_MESSAGE]}"
    return None


def _fits(pattern: str, text: str) -> bool:
    try:
        fits_pattern(pattern).validate_python(text)
    except InvalidText:
        return False
    return True


def _escaped(part: int | str) -> str:
    return str(part)[:100].replace("~", "~0").replace("/", "~1")


def _fault(code: str, message: str, where: str) -> Reason:
    return Reason(code=code, message=message, where=where)


def _refused(faults: Sequence[Reason]) -> Itemised:
    text = "; ".join(f"{fault.where}: {fault.message}" for fault in faults[:3])
    more = f" (and {len(faults) - 3} more)" if len(faults) > len(faults[:3]) else ""
    members = {"errors": [fields_of(fault) for fault in faults]}
    return Itemised(f"{text}{more}", code="invalid_data", status=422, members=members)
