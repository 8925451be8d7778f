"""The values and operators of conditions, and the meter of their evaluation.

Cel-python's operators are those of Python in places: `%` as a format of text, -1 as the last index, no comparison of 1
with 1.0. These are CEL's: numbers compare by value, values of different kinds are not equal, and all else between
kinds is an error. Each operator spends the steps that its work takes.
"""

import operator
from collections.abc import Callable, Iterable, Mapping
from types import NoneType
from typing import Any

import re2  # type: ignore[import-untyped]
from celpy import celtypes
from celpy.evaluation import CELEvalError, base_functions

from functions._core.decision.cel_limits import MAX_STEPS, Unanswerable
from functions._core.decision.cel_syntax import CONVERSIONS, MOMENT_METHODS
from functions._core.decision.vocabulary import shown

Value = Any
"""A value of CEL, or the error that takes its place."""

Function = Callable[..., Any]
"""An operator, a function or a method; a method takes its object first."""

CHARACTERS_PER_STEP = 64
"""Characters of text that cost as much as one value."""

MAX_PATTERN = 256
"""Characters of a regular expression: matching takes time for each of them and each character of the text."""

MAX_MATCHED = 4_096
"""Characters of a text that is matched."""

COUNTED_STEPS = 8
"""Steps for each character that is matched with a counted repetition: `{900}` is 900 states."""

PATTERN_BYTES = 256 * 1024
"""Bytes of memory of a compiled regular expression."""

PATTERN_STEPS = 1_000
"""Steps of compiling a regular expression, which takes up to some milliseconds; each is compiled once."""

MAX_CONVERTED = 64
"""Characters of a text that becomes a number, a moment or a duration."""

READING_STEPS = 20
"""Steps of reading a moment or a duration."""

INT64 = range(-(2**63), 2**63)
"""The whole numbers of CEL; larger ones of JSON are read as fractions are."""

KINDS: tuple[tuple[type | tuple[type, ...], str], ...] = (
    (NoneType, "null"),
    ((bool, celtypes.BoolType), "a truth value"),
    ((int, float), "a number"),
    (str, "a text"),
    (bytes, "bytes"),
    (list, "a list"),
    (dict, "a map"),
    (celtypes.TimestampType, "a moment"),
    (celtypes.DurationType, "a duration"),
)
"""The kinds of values in words; the first that fits counts."""

ADDED = frozenset({"a number", "a text", "bytes", "a list"})
"""Kinds that `+` joins with their own kind."""

TIMES = frozenset({"a moment", "a duration"})
"""Kinds that can be added and subtracted."""

ORDERED = frozenset({"a truth value", "a number", "a text", "bytes"}) | TIMES
"""Kinds that have an order."""


class Mismatch(TypeError):
    """An operator or function that is not defined for these kinds of values, in words."""


class Meter:
    """The steps of one evaluation."""

    def __init__(self, steps: int) -> None:
        """Allow `steps`."""
        self._left = steps

    def spend(self, steps: int) -> None:
        """Take `steps`; raise `Unanswerable` when there are no more."""
        self._left -= steps
        if self._left < 0:
            raise Unanswerable(f"it takes more than {MAX_STEPS} steps")

    def weigh(self, *values: object) -> None:
        """Take a step for each value within `values`: one that is there twice counts twice."""
        parts = [*values]
        while parts:
            part = parts.pop()
            self.spend(1 + len(part) // CHARACTERS_PER_STEP if isinstance(part, str | bytes) else 1)
            if isinstance(part, dict):
                self.spend(len(part))
                parts.extend(part.values())
            elif isinstance(part, list):
                parts.extend(part)


def value_of(given: Value) -> Value:
    """Return a JSON value as one of CEL; recursion is safe, as the depth of JSON from outside is limited."""
    if isinstance(given, dict | Mapping):
        made = celtypes.MapType()
        for name, value in given.items():
            made[celtypes.StringType(name)] = value_of(value)
        return made
    if isinstance(given, list | tuple):
        return celtypes.ListType([value_of(value) for value in given])
    if isinstance(given, bool):
        return celtypes.BoolType(given)
    if isinstance(given, int):
        return celtypes.IntType(given) if given in INT64 else celtypes.DoubleType(given)
    if isinstance(given, float):
        return celtypes.DoubleType(given)
    return None if given is None else celtypes.StringType(given)


def kind_of(value: object) -> str:
    """Return the kind of a value in words."""
    return next((word for kinds, word in KINDS if isinstance(value, kinds)), "this")


def operators(meter: Meter) -> dict[str, Function]:
    """Return all operators, functions and methods by the names of cel-python; each spends steps of `meter`."""
    weighed = {
        **{f"_{sign}_": _ordering(sign, function) for sign, function in ORDERINGS.items()},
        "_==_": equal,
        "_!=_": lambda left, right: celtypes.BoolType(not equal(left, right)),
        "_in_": contained,
        "_+_": _sum,
        "_-_": _difference,
        "contains": _contains,
        "startsWith": _on_texts("startsWith", str.startswith),
        "endsWith": _on_texts("endsWith", str.endswith),
        **{name: _conversion(meter, name) for name in CONVERSIONS},
    }
    return {
        **{name: _of_moments(name) for name in MOMENT_METHODS},
        "!_": _not,
        "-_": _negative,
        "_[_]": _item,
        "size": _size,
        "matches": _Patterns(meter).found,
        **{f"_{sign}_": _arithmetic(sign) for sign in "*/%"},
        **{name: _weighed(meter, function) for name, function in weighed.items()},
    }


def equal(left: Value, right: Value) -> celtypes.BoolType:
    """Whether two values are the same: numbers by value, lists and maps by content, other kinds never."""
    kind = kind_of(left)
    if kind != kind_of(right):
        return celtypes.BoolType(False)
    if kind == "a list":
        same = len(left) == len(right) and all(map(equal, left, right))
    elif kind == "a map":
        same = left.keys() == right.keys() and all(equal(value, right[key]) for key, value in left.items())
    else:
        same = _plain(left) == _plain(right)
    return celtypes.BoolType(same)


def contained(one: Value, container: Value) -> celtypes.BoolType:
    """Whether a list has an item, or a map has a key."""
    if isinstance(container, list):
        return celtypes.BoolType(any(equal(one, item) for item in container))
    if isinstance(container, dict):
        return celtypes.BoolType(celtypes.MapType.valid_key_type(one) and one in container)
    raise Mismatch(f"'in' is not defined for {kind_of(container)}")


def both(values: Iterable[Value]) -> Value:
    """Return whether all values are true; the first false one decides, whatever errors come before it."""
    return _decided(values, by=False)


def either(values: Iterable[Value]) -> Value:
    """Return whether one value is true; the first true one decides, whatever errors come before it."""
    return _decided(values, by=True)


def _decided(values: Iterable[Value], *, by: bool) -> Value:
    error = None
    for value in values:
        if not isinstance(value, celtypes.BoolType):
            known = isinstance(value, CELEvalError)
            error = error or (value if known else CELEvalError(f"{kind_of(value)} is neither true nor false"))
        elif bool(value) is by:
            return value
    return error or celtypes.BoolType(not by)


ORDERINGS: Mapping[str, Function] = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}


def _weighed(meter: Meter, function: Function) -> Function:
    """Return `function`, which spends the weight of its arguments."""

    def call(*given: Value) -> Value:
        meter.weigh(*given)
        return function(*given)

    return call


def _plain(value: Value) -> Value:
    """Return a number as Python's own, which compares whole numbers with fractions exactly."""
    return int(value) if isinstance(value, int) else float(value) if isinstance(value, float) else value


def _ordering(sign: str, function: Function) -> Function:
    def compare(left: Value, right: Value) -> celtypes.BoolType:
        kind = kind_of(left)
        if kind != kind_of(right) or kind not in ORDERED:
            raise Mismatch(f"'{sign}' is not defined for {kind} and {kind_of(right)}")
        return celtypes.BoolType(function(_plain(left), _plain(right)))

    return compare


def _sum(left: Value, right: Value) -> Value:
    kind, other = kind_of(left), kind_of(right)
    if not (kind == other and kind in ADDED) and not ({kind, other} <= TIMES):
        raise Mismatch(f"'+' is not defined for {kind} and {other}")
    if kind == "a number":
        _check_numbers("+", left, right)
    joined = left + right
    made = {"a text": celtypes.StringType, "bytes": celtypes.BytesType, "a list": celtypes.ListType}.get(kind)
    return made(joined) if made else joined


def _not(value: Value) -> Value:
    if not isinstance(value, celtypes.BoolType):
        raise Mismatch(f"'!' is not defined for {kind_of(value)}")
    return celtypes.logical_not(value)


def _negative(value: Value) -> Value:
    if kind_of(value) not in {"a number", "a duration"}:
        raise Mismatch(f"'-' is not defined for {kind_of(value)}")
    return -value


def _of_moments(name: str) -> Function:
    function = base_functions[name]

    def call(moment: Value, *zone: Value) -> Value:
        if kind_of(moment) not in TIMES or not all(isinstance(one, str) for one in zone):
            raise Mismatch(f"'{name}' is not defined for {kind_of(moment)}")
        try:
            return function(moment, *zone)
        except (AssertionError, OSError):  # a duration has no zone; a zone is read as the name of a file
            raise Mismatch(f"'{name}' is not defined for {kind_of(moment)} with such a zone") from None

    return call


def _difference(left: Value, right: Value) -> Value:
    if not {kind_of(left), kind_of(right)} <= TIMES:
        _check_numbers("-", left, right)
    return left - right


def _arithmetic(sign: str) -> Function:
    function = base_functions[f"_{sign}_"]

    def call(left: Value, right: Value) -> Value:
        _check_numbers(sign, left, right)
        return function(left, right)

    return call


def _check_numbers(sign: str, left: object, right: object) -> None:
    kinds = [kind_of(left), kind_of(right)]
    if kinds != ["a number", "a number"]:
        raise Mismatch(f"'{sign}' is not defined for {kinds[0]} and {kinds[1]}")
    if type(left) is not type(right):
        raise Mismatch(f"'{sign}' is not defined for whole numbers with fractions; use double() or int()")


def _item(container: Value, key: Value) -> Value:
    if isinstance(container, list) and isinstance(key, celtypes.IntType | celtypes.UintType):
        if not 0 <= int(key) < len(container):
            raise Mismatch(f"the list has no item {int(key)}")
        return container[int(key)]
    if isinstance(container, dict) and celtypes.MapType.valid_key_type(key):
        if key not in container:
            raise Mismatch(f"there is no key {shown(key if isinstance(key, str) else int(key))}")
        return container[key]
    raise Mismatch(f"{kind_of(container)} has no item by {kind_of(key)}")


def _size(value: Value) -> Value:
    if not isinstance(value, str | bytes | list | dict):
        raise Mismatch(f"'size' is not defined for {kind_of(value)}")
    return celtypes.IntType(len(value))


def _contains(container: Value, one: Value) -> celtypes.BoolType:
    if isinstance(container, str) and isinstance(one, str):
        return celtypes.BoolType(str(one) in str(container))
    return contained(one, container)


def _on_texts(name: str, function: Function) -> Function:
    def call(text: Value, part: Value) -> celtypes.BoolType:
        if not isinstance(text, str) or not isinstance(part, str):
            raise Mismatch(f"'{name}' is not defined for {kind_of(text)} and {kind_of(part)}")
        return celtypes.BoolType(function(text, part))

    return call


def _conversion(meter: Meter, name: str) -> Function:
    function = base_functions[name]

    def convert(value: Value) -> Value:
        kind = kind_of(value)
        if kind not in ORDERED:
            raise Mismatch(f"'{name}' is not defined for {kind}")
        if name not in {"string", "bytes"} and isinstance(value, str) and len(value) > MAX_CONVERTED:
            raise Mismatch(f"'{name}' reads at most {MAX_CONVERTED} characters")
        meter.spend(READING_STEPS if name in {"duration", "timestamp"} else 0)
        return function(value)

    return convert


class _Patterns:
    """The regular expressions (RE2, which takes linear time) of one evaluation."""

    def __init__(self, meter: Meter) -> None:
        self._meter = meter
        self._compiled: dict[str, Value] = {}

    def found(self, text: Value, pattern: Value) -> celtypes.BoolType:
        """Whether a pattern is found in a text."""
        if not isinstance(text, str) or not isinstance(pattern, str):
            raise Mismatch(f"'matches' is not defined for {kind_of(text)} and {kind_of(pattern)}")
        if len(pattern) > MAX_PATTERN or len(text) > MAX_MATCHED:
            raise Mismatch(f"'matches' takes {MAX_PATTERN} characters of pattern and {MAX_MATCHED} of text at most")
        each = COUNTED_STEPS if "{" in pattern else 1
        self._meter.spend(1 + len(text) * (each + len(pattern) // CHARACTERS_PER_STEP))
        return celtypes.BoolType(self._regex(str(pattern)).search(str(text)) is not None)

    def _regex(self, pattern: str) -> Value:
        if pattern not in self._compiled:
            self._meter.spend(PATTERN_STEPS)
            options = re2.Options()
            options.max_mem, options.log_errors = PATTERN_BYTES, False
            try:
                self._compiled[pattern] = re2.compile(pattern, options)
            except re2.error:
                raise Mismatch("'matches' has a pattern that is not one of RE2, or too large") from None
        return self._compiled[pattern]
