"""Plans in files: YAML within its bounds, and each finding at its line and column."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from functions._cli.decision_file import is_yaml, read_file
from functions._cli.text_places import TextPlace, json_tokens, picture_of, places
from functions._core.errors import Rejected
from functions._core.records.yaml_text import parse_yaml, yaml_tokens
from tests.support.command_line import flowc
from tests.support.decisions import a_document, a_plan, a_task

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text("ab.[]é \n", max_size=4), inner, max_size=4),
    max_leaves=15,
)  # fmt: skip


@given(value=JSON)
@settings(max_examples=200, deadline=None)
def test_yaml_says_what_json_says(value: object) -> None:
    assert parse_yaml(yaml.safe_dump(value, sort_keys=False, default_style='"').encode()) == value


@given(value=JSON, indent=st.sampled_from([None, 1, 4]))
@settings(max_examples=200, deadline=None)
def test_every_place_of_a_json_text_is_found(value: object, indent: int | None) -> None:
    text = json.dumps(value, indent=indent, ensure_ascii=False)
    lines = text.split("\n")
    wanted = dict(walk(value))
    found = places(json_tokens(text), wanted.keys())
    for where, begins in wanted.items():
        place = found[where]
        rest = "\n".join([lines[place.line - 1][place.column - 1 :], *lines[place.line :]])
        assert rest.startswith(begins), where


def walk(value: object, where: str = "") -> Any:
    """Yield each path that is there once, with the text that its place begins with."""
    items: Any = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    names = [str(key) for key, _ in items]
    for key, item in items:
        if isinstance(key, str) and (set(key) & set(".[]") or not key or names.count(key) > 1):
            continue  # a path does not tell it from another one
        below = f"{where}[{key}]" if isinstance(key, int) else f"{where}.{key}" if where else key
        begins = json.dumps(key if isinstance(key, str) else item, ensure_ascii=False)
        yield below, begins if isinstance(key, str) or not isinstance(item, list | dict) else begins[0]
        yield from walk(item, below)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a: no", {"a": "no"}),
        ("a: on\nb: 1:30\nc: 2026-01-01\nd: 012", {"a": "on", "b": "1:30", "c": "2026-01-01", "d": 12}),
        ("a: 0x1f\nb: 0o17\nc: 1e3\nd: .5", {"a": 31, "b": 15, "c": 1e3, "d": 0.5}),
        ("e: '5'\nf: !!str 5\ng: !!int '5'", {"e": "5", "f": "5", "g": 5}),
        ("a: ~\nb:\nc: null\nd: 'null'", {"a": None, "b": None, "c": None, "d": "null"}),
        ("1: a\ntrue: b", {"1": "a", "true": "b"}),
        ("base: &b {x: 1, y: 2}\nc:\n  <<: *b\n  y: 3", {"base": {"x": 1, "y": 2}, "c": {"y": 3, "x": 1}}),
        ("a: &x [1]\nb: *x", {"a": [1], "b": [1]}),
        ("t: |\n  two\n  lines\n", {"t": "two\nlines\n"}),
        ("", None),
    ],
)  # fmt: skip
def test_words_mean_what_yaml_1_2_says(text: str, value: object) -> None:
    assert parse_yaml(text.encode()) == value


LAUGHS = "a: &a [x,x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{new}: &{new} [{','.join([f'*{old}'] * 10)}]\n" for old, new in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (LAUGHS, "too_complex"),
        ("a: &a [*a]", "malformed_yaml"),
        ("a: *b", "malformed_yaml"),
        ("[" * 100 + "]" * 100, "too_deep"),
        ("[" * 50_000, "too_deep"),
        ("{a: " * 50_000, "too_deep"),
        ("- " * 50_000, "too_deep"),
        ("a: 1\na: 2", "malformed_yaml"),
        ("a: !!python/object/apply:os.system ['true']", "malformed_yaml"),
        ("!!python/name:os.system", "malformed_yaml"),
        ("a: !custom 1", "malformed_yaml"),
        ("a: .inf", "malformed_yaml"),
        ("a: .NaN", "malformed_yaml"),
        ("a: 1e999", "malformed_yaml"),
        ("? [a]\n: b", "malformed_yaml"),
        ("a: 1\n--- \nb: 2", "malformed_yaml"),
        ("a: 'open", "malformed_yaml"),
        ("a: b: c", "malformed_yaml"),
        ("\ta: 1", "malformed_yaml"),
        ("a: \x01", "malformed_yaml"),
        ("a: &l {<<: 5}", "malformed_yaml"),
    ],
)
def test_a_hostile_text_is_refused_at_once(text: str, code: str) -> None:
    with pytest.raises(Rejected) as refused:
        parse_yaml(text.encode())
    assert refused.value.code == code


def test_text_that_is_not_utf_8_is_refused() -> None:
    with pytest.raises(Rejected, match="not UTF-8"):
        parse_yaml(b"a: \xff")


def test_the_form_of_a_file_is_told_by_its_name_then_by_its_content() -> None:
    assert is_yaml("a.yaml", b"{}")
    assert is_yaml("A.YML", b"")
    assert not is_yaml("a.json", b"a: 1")
    assert is_yaml("-", b"# plan\ntasks: []")
    assert not is_yaml("-", b"\xef\xbb\xbf  {}")
    assert not is_yaml("-", b"nonsense")


def test_a_file_holds_a_decision_an_event_or_a_plan() -> None:
    decision = a_document()
    event = {"specversion": "1.0", "id": "1", "source": "/x", "type": "io.neuralhive.decision.consolidated.v1"}
    texts = {
        "decision": decision,
        "event": {**event, "data": decision},
        "plan": {"tasks": [a_task()]},
    }
    for name, document in texts.items():
        for text in (json.dumps(document), yaml.safe_dump(document)):
            found = read_file("-", text.encode())
            assert len(found.plan["tasks"]) == 1, name
    again = [read_file("-", json.dumps({"tasks": [a_task()]}).encode(), run).event.data for run in ("", "", "x")]
    assert again[0] == again[1]
    assert again[2]["decision_id"] == "plan-x"


YAML = """\
# yaml-language-server: $schema=plan.json
tasks:
  - task_id: a
    task_type: QUERY
    description: get
  - task_id: b
    task_type: WAIT
    description: hold
    dependencies: [a, nowhere]
    wait:
      seconds: 5
      timeout_ms: soon
    on_skiped: run
"""


def test_each_finding_has_its_place_its_line_and_a_caret(tmp_path: Path) -> None:
    file = tmp_path / "plan.yaml"
    file.write_text(YAML, encoding="utf-8")
    result = flowc("validate", str(file))
    assert result.exit_code == 1
    lines = result.stderr.splitlines()
    assert f"{file}:12:7: error: cognitive_plan.tasks[1].wait.timeout_ms: must be a whole number" in lines[0]
    assert lines[1:3] == ["   12 |       timeout_ms: soon", "      |       ^"]
    assert f"{file}:13:5: warning: cognitive_plan.tasks[1].on_skiped" in lines[3]
    file.write_text(YAML.replace("soon", "5"), encoding="utf-8")
    result = flowc("validate", str(file))
    assert f"{file}:9:5: error: cognitive_plan.tasks[1].dependencies: task 'b' depends on 'nowhere'" in result.stderr
    as_json = json.loads(flowc("validate", str(file), "--json").stdout)
    assert [(one["code"], one["line"], one["column"]) for one in as_json["errors"]] == [("unknown_dependency", 9, 5)]


def test_what_cannot_be_read_is_shown_where_it_is(tmp_path: Path) -> None:
    for name, text, place in (("a.yaml", "tasks:\n  - a: 1\n   b: 2\n", "3:"), ("a.json", '{"tasks": [\n,]}', "2:1")):
        file = tmp_path / name
        file.write_text(text, encoding="utf-8")
        result = flowc("validate", str(file))
        assert result.exit_code == 2
        assert result.stderr.startswith(f"flowc: {file}:{place}")
        assert result.stderr.splitlines()[-1].endswith("^")


def test_the_place_of_a_decision_within_an_event_is_found() -> None:
    data = a_document(a_plan(a_task("a", "b")))
    event = {
        "specversion": "1.0",
        "id": "1",
        "source": "/x",
        "type": "io.neuralhive.decision.consolidated.v1",
        "data": data,
    }
    file = read_file("-", json.dumps(event, indent=1).encode())
    where = "cognitive_plan.tasks[0].dependencies"
    line, _ = file.places([where])[where]
    assert '"dependencies"' in file.lines[line - 1]


def test_a_picture_shows_the_part_of_a_long_line_and_moves_no_cursor() -> None:
    line = "x" * 5_000 + "\x1b[2J" + "y" * 5_000
    shown = picture_of([line], TextPlace(1, 5_001))
    assert max(map(len, shown)) < 120
    assert "\x1b" not in "".join(shown)
    assert shown[0][shown[1].index("^") :].startswith(" [2Jyyy")
    assert picture_of([line], TextPlace(7, 1)) == []


def test_places_of_yaml_are_those_of_its_keys() -> None:
    found = places(yaml_tokens(YAML.encode()), {"tasks[1].wait.seconds", "tasks[0]", "tasks[7].nothing", ""})
    assert found == {"tasks[1].wait.seconds": (11, 7), "tasks[0]": (3, 5), "tasks[7].nothing": (2, 1), "": (2, 1)}


def test_a_plan_in_yaml_is_simulated(tmp_path: Path) -> None:
    file = tmp_path / "plan.yml"
    file.write_text("tasks:\n- {task_id: a, task_type: QUERY, description: get}\n", encoding="utf-8")
    assert flowc("simulate", str(file), "--seed", "1").exit_code == 0
