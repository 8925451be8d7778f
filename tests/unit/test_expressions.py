"""Conditions in CEL: their meaning, their limits, and attacks on both."""

import subprocess
import sys
import time
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from functions._core.decision.expressions import MAX_TEXT, ExpressionFailed, InvalidExpression, compiled
from functions._core.errors import Undeliverable

FAST = 10.0
"""Seconds of CPU that no limit comes near: on a busy machine the slowest case takes a quarter of them."""


def holds(text: str, a: Any = None, **more: Any) -> bool:
    return compiled(text).holds({"outputs": {"a": a}, "statuses": {"a": "COMPLETED"}, **more})


@pytest.mark.parametrize(
    ("text", "a", "expected"),
    [
        ("outputs.a.score > 0", {"score": 0.5}, True),
        ("outputs.a.score >= 80", {"score": 80.0}, True),
        ("outputs.a == 1.0 && 1 < 2u && 2 == 2u", 1, True),
        ("outputs.a == 1", True, False),
        ('outputs.a == "1"', 1, False),
        ("outputs.a == null", None, True),
        ("outputs.a != null", {"b": 1}, True),
        ("outputs.a == [1, 2.0, 'x']", [1, 2, "x"], True),
        ("outputs.a == {'b': [1.0]}", {"b": [1]}, True),
        ("outputs.a > 1", 10**30, True),
        ('outputs.a["a-b"].c == "q"', {"a-b": {"c": "q"}}, True),
        ("outputs.a[1] == 'y' && size(outputs.a) == 2 && outputs.a.size() == 2", ["x", "y"], True),
        ("1 in outputs.a", [2, 1.0], True),
        ("'b' in outputs.a && !('c' in outputs.a)", {"b": None}, True),
        ("has(outputs.a.b) && outputs.a.b.c > 1", {}, False),
        ("has(outputs.a.b)", {"b": None}, True),
        ("has(outputs.a.b.c)", {}, False),
        ("'a' in outputs && !('z' in outputs)", 1, True),
        ("statuses['a'] == 'COMPLETED' && statuses.a != 'SKIPPED'", 1, True),
        ("1 / 0 == 1 || true", 1, True),
        ("true || 1 / 0 == 1", 1, True),
        ("outputs.a && false", "no truth value", False),
        ("outputs.a ? 1 / 0 == 1 : true", False, True),
        ("outputs.a.exists(one, one.ok)", [{"ok": False}, {}, {"ok": True}], True),
        ("outputs.a.all(one, one > 0)", [], True),
        ("outputs.a.exists_one(one, one == 1)", [1, 2], True),
        ("outputs.a.filter(one, one > 1).map(one, one * 2) == [4, 6]", [1, 2, 3], True),
        ("outputs.a.all(key, key.startsWith('x'))", {"x1": 1, "x2": 2}, True),
        ("outputs.a.all(x, x.all(y, y > 0)) && outputs.a.map(x, x) == outputs.a", [[1], [2]], True),
        ("outputs.a.matches('^v[0-9]+$') && outputs.a.contains('12') && outputs.a.endsWith('2')", "v12", True),
        ("size(outputs.a) == 2 && outputs.a == '\\u00e9\\U0001F600'", "é😀", True),
        ("timestamp(outputs.a) < timestamp('2026-01-01T00:00:00Z')", "2025-12-31T23:59:59Z", True),
        ("timestamp(outputs.a).getFullYear() == 2025", "2025-12-31T23:59:59Z", True),
        ("duration('90m') == duration('1h') + duration('30m')", 1, True),
        ("int('12') == 12 && double('1.5') > 1 && string(outputs.a) == '1' && bool('true')", 1, True),
        ("outputs.a-1 == 0 && -outputs.a == -1 && outputs.a * 7 % 4 == 3 && 7 / 2 == 3", 1, True),
        ("('a' + 'b').contains('b') && ([1] + [2]).size() == 2 && r'\\d' == '\\\\d'", 1, True),
    ],
)
def test_a_condition_means_what_cel_says(text: str, a: object, expected: bool) -> None:
    assert holds(text, a) is expected


def test_item_index_input_and_event_are_variables() -> None:
    text = "item.n == index && input.region == 'eu' && event.data.id == 'x' && event.type == 't'"
    given = {"item": {"n": 2}, "index": 2, "input": {"region": "eu"}, "event": {"type": "t", "data": {"id": "x"}}}
    assert compiled(text).holds(given)
    assert compiled(text).names == {"item", "index", "input", "event"}


def test_a_condition_names_the_tasks_and_variables_that_it_reads() -> None:
    text = """outputs.a == 1 || has(outputs.b.x) || statuses["c-d"] == 'x' || 'e f' in outputs || outputs.a[index] == 1
        || outputs.g.exists(x, x == outputs.h)"""
    assert compiled(text).tasks == {"a", "b", "c-d", "e f", "g", "h"}
    assert compiled(text).names == {"outputs", "statuses", "index"}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is no condition in CEL"),
        ("a b", "an error at line 1 column 3"),
        ("outputs.a == 1 &&", "is no condition in CEL"),
        ("outputs == 1", "'outputs' without the id of a task"),
        ("outputs[index] == 1", "without the id of a task"),
        ("outputs.exists(x, x == 1)", "without the id of a task"),
        ("foo == 1", "uses 'foo'; known are outputs"),
        ("now() == 1", "calls 'now'"),
        ("type(1) == int", "calls 'type'"),
        ("size(1, 2) == 1", "2 arguments instead of one"),
        ("[1].reduce(r, i, 0, r + i) == 1", "calls 'reduce'"),
        ("[1].map(i, i > 1, i) == []", "map without a variable"),
        ("[1].all(i.x, true)", "all without a variable"),
        ("[1].all(outputs, true)", "that name has a meaning"),
        ("has(outputs)", "has without a field"),
        (".outputs.a", "begins with a point"),
        ("Foo{a: 1} == 1", "a message of a protocol"),
        ("outputs['\\UFFFFFFFF'] == 1", "a character that does not exist"),
        ("[[1]].all(x, x.all(y, [y].all(z, true)))", "more than 2 of"),
        ("'" + "\\\\" * 500, "is no condition in CEL"),
        (" && ".join(["true"] * 200), "levels deep"),
        ("(" * 2000 + "1" + ")" * 2000, "words and signs"),
        ("!" * 4000 + "true", "words and signs"),
        ("x" * (MAX_TEXT + 1), "4097 characters"),
        ("\x00\u202e\ud83d", "is no condition in CEL"),
    ],
    ids=lambda value: str(value)[:30].encode("ascii", "backslashreplace").decode(),
)
def test_a_text_that_is_no_condition_is_refused_with_words(text: str, words: str) -> None:
    with pytest.raises(InvalidExpression, match=words):
        compiled(text)


@pytest.mark.parametrize(
    ("text", "a", "reason"),
    [
        ("outputs.a.y.z == 1", {}, "there is no field 'y'"),
        ("outputs.a.y == 1", [1], "a list has no field 'y'"),
        ("outputs.a['y'] == 1", {}, "there is no key 'y'"),
        ("outputs.z == 1", 1, "there is no field 'z'"),
        ("item == 1", 1, "'item' has no value here"),
        ("outputs.a[-1] == 1", [1], "the list has no item -1"),
        ("outputs.a[0.0] == 1", [1], "a list has no item by a number"),
        ("outputs.a < 'x'", 1, "'<' is not defined for a number and a text"),
        ("outputs.a * 1.5 > 1.0", 1, "use double\\(\\) or int\\(\\)"),
        ("outputs.a", [1], "neither true nor false"),
        ("outputs.a && true", "s", "a text is neither true nor false"),
        ("outputs.a.all(x, x)", [1], "a number is neither true nor false"),
        ("!outputs.a", 1, "'!' is not defined for a number"),
        ("9223372036854775807 + outputs.a > 0", 1, "overflow"),
        ("int(1e300) == outputs.a", 1, "overflow"),
        ("outputs.a / 0 == 1", 1, "division"),
        ("'a' * 1000000000 == outputs.a", 1, "'\\*' is not defined"),
        ("'%999999999d' % 5 == outputs.a", 1, "'%' is not defined"),
        ("[1] * 1000000000 == outputs.a", 1, "'\\*' is not defined"),
        ("timestamp(outputs.a) == timestamp(outputs.a)", "soon", "soon"),
        ("int(outputs.a) == 1", "9" * 5000, "at most 64 characters"),
        ("outputs.a.matches('(')", "x", "not one of RE2"),
        ("outputs.a.matches('(\\\\pL{30}){30}')", "x", "not one of RE2, or too large"),
        ("outputs.a.matches(outputs.a)", "x" * 300, "256 characters of pattern"),
        ("outputs.a.getHours() == 1", "x", "'getHours' is not defined for a text"),
        (
            "timestamp('2020-01-01T00:00:00Z').getHours(outputs.a) == 1",
            "America",
            "'getHours' is not defined for a moment with such a zone",
        ),
        (
            "timestamp('2020-01-01T00:00:00Z').getHours(outputs.a) == 1",
            "a" * 300,
            "'getHours' is not defined for a moment with such a zone",
        ),
        ("duration('1s').getHours(outputs.a) == 1", "UTC", "'getHours' is not defined for a duration with such a zone"),
        ("outputs.a.startsWith('x')", None, "'startsWith' is not defined for null"),
    ],
)
def test_a_condition_without_an_answer_fails_with_its_text_and_the_reason(text: str, a: object, reason: str) -> None:
    with pytest.raises(ExpressionFailed, match=reason) as failure:
        holds(text, a)
    assert failure.value.code == "condition_failed"
    assert isinstance(failure.value, Undeliverable)
    assert text[:150] in str(failure.value)


TOO_MUCH = "more than 200000 steps"


@pytest.mark.parametrize(
    ("text", "a"),
    [
        ("outputs.a.all(x, outputs.a.all(y, y >= 0))", list(range(10_000))),
        ("outputs.a.all(x, outputs.a == outputs.a)", list(range(10_000))),
        ("outputs.a.all(x, !(-1 in outputs.a))", list(range(10_000))),
        ("[outputs.a]" + ".map(x, x + x)" * 30 + " == []", "a" * 1_000),
        ("[[1]]" + ".map(x, [x, x])" * 30 + " == []", None),
        ("[[1]]" + ".map(x, x + x)" * 30 + " == []", None),
        ("outputs.a == outputs.a", ["x" * 1_000] * 20_000),
        ("[1].all(x, true)", list(range(300_000))),
        ("[1,2,3].all(x, outputs.a.all(y, 'x'.matches('((((a?){9}){9}){9})')))", list(range(50_000))),
        ("outputs.a.all(x, (x + x + x + x + x + x + x) == 3 || x.foo || true)", list(range(50_000))),
        ("outputs.a.exists(x, x.missing)", list(range(100_000))),
        ("outputs.a.all(x, timestamp('2025-01-01T00:00:00Z') == timestamp('2025-01-01T00:00:00Z'))", [1] * 10_000),
    ],
)
def test_work_without_end_is_stopped(text: str, a: object) -> None:
    begun = time.process_time()
    with pytest.raises(ExpressionFailed, match=TOO_MUCH):
        compiled(f"outputs.a == 1 || {text}").holds({"outputs": {"a": a}})
    assert time.process_time() - begun < FAST


@pytest.mark.parametrize("pattern", ["(a+)+$", "(x+x+)+y", "[ab]*a[ab]{900}$", "|".join(["[ab]*a[ab]{200}c"] * 15)])
def test_a_regular_expression_takes_linear_time(pattern: str) -> None:
    begun = time.process_time()
    assert holds(f"outputs.a.matches('{pattern}') || true", "ab" * 2_048)
    assert time.process_time() - begun < FAST


def test_errors_of_many_items_do_not_pile_up_in_one_message() -> None:
    with pytest.raises(ExpressionFailed) as failure:
        holds("outputs.a.exists(x, x.y.z) || outputs.a.all(x, x.y.z)", [{"y": "v" * 1_000}] * 500)
    assert len(str(failure.value)) < 500


def test_a_condition_on_each_of_ten_thousand_outputs_fits() -> None:
    assert not holds("outputs.a.exists(x, x.ok == false)", [{"ok": True, "n": n} for n in range(10_000)])


def test_deep_values_are_read_as_deep_as_json_goes() -> None:
    deep: Any = 1
    for _ in range(64):
        deep = [deep]
    assert holds("outputs.a == outputs.a", deep)


def test_a_plan_without_conditions_does_not_load_the_language() -> None:
    code = (
        "import sys, functions._core.decision.expressions, functions.validate.handler, functions.discover.handler; "
        "sys.exit(any(name in sys.modules for name in ('celpy', 'lark', 're2', 'pendulum')))"
    )
    environment = {"PATH": "", "FLOWC_PLATFORM": ""}
    assert subprocess.run([sys.executable, "-c", code], env=environment, check=False).returncode == 0


SIGNS = "outputs statuses item index input event a b . [ ] ( ) { } , : ? ! && || == != < in + - * / % 1 0 2.5 1u 'x' "
WORDS = st.sampled_from(
    [
        *(SIGNS + "\"y\" r'\\' '''z''' b'q' true null all exists map filter has size int matches // \\ ' \" é").split(),
        "\n",
    ]
)
TEXTS = st.text(max_size=60) | st.lists(WORDS, max_size=30).flatmap(
    lambda words: st.sampled_from(["", " "]).map(lambda by: by.join(words))
)


@settings(max_examples=300, deadline=None)
@given(TEXTS)
def test_no_text_does_anything_but_compile_or_be_refused(text: str) -> None:
    with suppress(InvalidExpression, ExpressionFailed):
        compiled(text).holds({"outputs": {"a": {"b": [1]}}, "statuses": {"a": "COMPLETED"}, "item": 1, "index": 0})
