"""Forms of approvals: what fits, what does not, and that neither a form nor its data costs much."""

import subprocess
import sys
import time
from typing import Any

import pytest

from functions._core.decision.form_limits import DATA_BYTES, FORM_VALUES, MAX_DEPTH, MAX_PATTERNS, form_fault, size_of
from functions._core.errors import Rejected
from functions.api.approval_forms import check_data
from functions.api.problems import Itemised
from tests.conftest import ROOT
from tests.support.approvals import FORM

MOST_S = 2.0
"""Seconds of CPU time that no check may need: on a quiet machine the worst one takes a quarter."""


def nested(levels: int) -> Any:
    """Return lists within lists."""
    value: list[Any] = []
    for _ in range(levels - 1):
        value = [value]
    return value


def faults(form: Any, data: Any) -> list[tuple[str, str | None]]:
    """Return code and place of each fault."""
    try:
        check_data(form, data)
    except Itemised as refused:
        errors: Any = refused.members["errors"] if (refused.code, refused.status) == ("invalid_data", 422) else ()
        return [(error["code"], error["where"]) for error in errors]
    return []


@pytest.mark.parametrize("data", [{"amount": 1}, {"amount": 100, "to": "DE"}])
def test_data_that_fits_is_taken(data: Any) -> None:
    assert faults(FORM, data) == []


def test_each_fault_is_named_with_a_pointer_to_it() -> None:
    assert faults(FORM, {"amount": 101, "to": "x", "~/": 1}) == [
        ("maximum", "/data/amount"),
        ("pattern", "/data/to"),
        ("additionalProperties", "/data"),
    ]
    assert faults(FORM, {}) == [("required", "/data")]
    assert faults(FORM, None) == [("missing", "/data")]
    assert faults(FORM, "text") == [("type", "/data")]
    assert faults({"items": {"type": "integer"}}, [1, 2, "x"]) == [("type", "/data/2")]
    assert faults({"additionalProperties": False, "properties": {"~/": {"type": "null"}}}, {"~/": 1}) == [
        ("type", "/data/~0~1")
    ]


def test_a_ticket_without_a_form_takes_no_data() -> None:
    assert faults(None, None) == []
    assert faults(None, {"amount": 1}) == [("unexpected", "/data")]


def test_a_form_may_refer_to_its_own_parts() -> None:
    form = {"$defs": {"name": {"type": "string"}}, "properties": {"a": {"$ref": "#/$defs/name"}}}
    assert faults(form, {"a": "x"}) == []
    assert faults(form, {"a": 1}) == [("type", "/data/a")]


def test_a_message_repeats_nothing_long() -> None:
    with pytest.raises(Itemised) as refused:
        check_data({"type": "integer"}, "x" * 10_000)
    assert str(refused.value) == '/data: does not fit type: "integer"'


BOMBS: dict[str, tuple[Any, str]] = {
    "circle": ({"$defs": {"a": {"$ref": "#/$defs/a"}}, "$ref": "#/$defs/a"}, "levels"),
    "itself": ({"properties": {"a": {"$ref": "#"}}}, "levels"),
    "doubling": (
        {"$defs": {f"a{i}": {"allOf": [{"$ref": f"#/$defs/a{i + 1}"}] * 2} for i in range(9)} | {"a9": {}}}
        | {"$ref": "#/$defs/a0"},
        "values",
    ),
    "wide": ({"enum": list(range(FORM_VALUES))}, "values"),
    "long": ({"const": "x" * 40_000}, "bytes"),
    "deep": ({"const": nested(MAX_DEPTH + 1)}, "levels"),
    "remote": ({"$ref": "http://127.0.0.1:9/schema"}, "refers to"),
    "file": ({"$ref": "file:///etc/passwd"}, "refers to"),
    "relative": ({"$ref": "other.json"}, "refers to"),
    "nowhere": ({"$ref": "#/$defs/b"}, "refers to"),
    "escaped": ({"$ref": "#/%24defs/b"}, "refers to"),
    "other base": ({"$id": "http://elsewhere/", "$ref": "#/$defs/a", "$defs": {"a": {}}}, "$id"),
    "dynamic": ({"$dynamicRef": "#a"}, "$dynamicRef"),
    "repeating": ({"unevaluatedProperties": False}, "unevaluatedProperties"),
    "keys by pattern": ({"patternProperties": {"(a+)+$": {}}}, "patternProperties"),
    "look-around": ({"pattern": "(?=a)b"}, "look-around"),
    "back reference": ({"pattern": r"(a)\1"}, "back references"),
    "huge automaton": ({"pattern": r"(\w{50}){50}"}, "repetitions"),
    "open repetitions": ({"pattern": "a{3,}{4}{25}"}, "repetitions"),
    "long pattern": ({"pattern": "x" * 200}, "characters"),
    "many patterns": ({"allOf": [{"pattern": f"a{i}"} for i in range(MAX_PATTERNS + 1)]}, "patterns"),
    "other dialect": ({"$schema": "http://json-schema.org/draft-07/schema#"}, "dialect"),
    "no schema": ({"type": "strin"}, "no JSON Schema"),
    "no number": ({"maximum": "1"}, "no JSON Schema"),
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_form_that_could_cost_much_or_fetch_something_is_refused(name: str) -> None:
    form, why = BOMBS[name]
    begun = time.process_time()
    with pytest.raises(Rejected, match="nobody can decide about this ticket") as refused:
        check_data(form, {})
    assert why in str(refused.value)
    assert (refused.value.status, refused.value.code) == (409, "invalid_form")
    assert time.process_time() - begun < MOST_S


COSTLY: dict[str, tuple[Any, Any]] = {
    "every branch": ({"items": {"anyOf": [{"type": "string"}] * 75}}, [1] * 150),
    "unique objects": ({"allOf": [{"uniqueItems": True}] * 10}, [{"a": i} for i in range(490)]),
    "slow pattern": ({"items": {"pattern": "(a+)+$"}}, ["a" * 10_000 + "b"] * 3),
    "bounded pattern": ({"items": {"pattern": "(.{0,90}x)+y$"}}, ["xa" * 5_000 + "b"] * 3),
    "large number": ({"multipleOf": 0.3}, 10**400),
    "many references": (
        {"$defs": {"a": {"anyOf": [{"type": "string"}] * 20}}, "items": {"allOf": [{"$ref": "#/$defs/a"}] * 9}},
        [1] * 55,
    ),
    "many faults": ({"required": [f"k{i}" for i in range(400)]}, {"a": "x" * 30_000}),
    "choices of choices": ({"oneOf": [{"oneOf": [{"oneOf": [{"type": "string"}] * 4}] * 4}] * 4}, [1] * 90),
}


@pytest.mark.parametrize("name", COSTLY)
def test_data_within_the_limits_is_checked_in_a_moment(name: str) -> None:
    form, data = COSTLY[name]
    assert form_fault(form) is None
    begun = time.process_time()
    found = faults(form, data)
    assert len(found) <= 100
    assert time.process_time() - begun < MOST_S


@pytest.mark.parametrize(
    ("data", "why"),
    [
        ("x" * (DATA_BYTES + 1), "bytes"),
        ([0] * 1_001, "values"),
        ([{"a": i} for i in range(490)], "values"),
        (nested(MAX_DEPTH + 1), "levels"),
    ],
)
def test_data_that_is_too_large_is_refused_unchecked(data: Any, why: str) -> None:
    form = {"allOf": [{"type": ["array", "string"]}] * 20}
    with pytest.raises(Rejected, match=why) as refused:
        check_data(form, data)
    assert (refused.value.status, refused.value.code) == (413, "too_large")


def test_sizes_count_every_value_once() -> None:
    assert size_of({"a": [1, {"b": 2}]}) == (5, 4)
    assert size_of(7) == (1, 1)


def test_the_library_is_imported_with_the_first_form_and_no_sooner() -> None:
    code = "import sys, functions._hosts.api_app; print('jsonschema' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert run.stdout == "False\n"
