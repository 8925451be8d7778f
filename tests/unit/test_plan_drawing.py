"""Plans drawn: what each construct looks like, and nothing foreign that becomes more than text."""

import json
import re
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from functions._cli.plan_picture import MOST_EDGES, MOST_TASKS
from functions._core.decision.sample import Shape, sample_decision
from functions._core.decision.sample_constructs import CONSTRUCTS, construct_sample
from tests.support.command_line import FLOW, FLOW_ID, TICKET, Api, flowc
from tests.support.decisions import a_document, a_plan, a_task
from tests.support.loopback import Loopback

SVG = "{http://www.w3.org/2000/svg}"
KNOWN = {f"{SVG}{name}" for name in ("svg", "style", "rect", "path", "polygon", "g", "title", "text")}
HOSTILE = (
    '"]; click t0 "javascript:alert(1)"', "<script>alert(1)</script>", "]]><svg onload=alert(1)>", "a\nend\nsubgraph x",
    "`${x}`", "#quot;#lt;", "&lt;b&gt; &amp;", "%%{init: {}}%%", "]--> t0", "\u202eright to left", "ÄÖ 漢字", "'" * 200,
)  # fmt: skip


def drawn(document: Any, form: str) -> str:
    result = flowc("plan", "draw", "-", "--format", form, stdin=json.dumps(document))
    assert result.exit_code == 0, result.output
    return result.stdout


def elements(text: str) -> ET.Element:
    root = ET.fromstring(text)  # noqa: S314 our own text
    for element in root.iter():
        assert element.tag in KNOWN
        assert not [name for name in element.attrib if name.startswith("on") or "href" in name]
    return root


@pytest.mark.parametrize("name", CONSTRUCTS)
def test_each_construct_is_drawn_in_each_form(name: str) -> None:
    document = construct_sample(name, "1")
    tasks = document["cognitive_plan"]["tasks"]
    text = drawn(document, "text")
    assert all(task["task_id"] in text for task in tasks)
    mermaid = drawn(document, "mermaid")
    assert mermaid.startswith("flowchart LR\n")
    assert len(re.findall(r"^    t\d+\W", mermaid, re.MULTILINE)) >= len(tasks)
    root = elements(drawn(document, "svg"))
    inner = sum(len(task["plan"]["tasks"]) for task in tasks if "plan" in task)
    assert len(root.findall(f".//{SVG}title")) == len(tasks) + inner


def test_the_shapes_and_the_critical_path_are_told_apart() -> None:
    plan = a_plan(
        a_task("long", estimated_duration_ms=60_000),
        a_task("short", estimated_duration_ms=1),
        a_task("ask", "long", "short", task_type="APPROVE"),
        a_task("hold", "ask", task_type="WAIT", wait={"seconds": 5}),
        a_task("each", "hold", foreach={"items": [1]}, when='statuses["hold"] == "COMPLETED"'),
    )
    text = drawn(a_document(plan), "text")
    assert re.search(r"^  \* ▢ long", text, re.MULTILINE)
    assert re.search(r"^    ▢ short", text, re.MULTILINE)
    assert re.search(r"^  \* ⬡ ask .* after long, short$", text, re.MULTILINE)
    assert re.search(r"^  \* ◷ hold .*\(5 s\)", text, re.MULTILINE)
    assert re.search(r"^  \* ☰ each .*◇ when statuses", text, re.MULTILINE)
    mermaid = drawn(a_document(plan), "mermaid")
    assert 't2{{"ask' in mermaid
    assert 't3(["hold' in mermaid
    assert 't4[/"each' in mermaid
    assert "    t0 ==> t2\n    t1 --> t2\n" in mermaid
    assert "c4 --> t4" in mermaid


def test_the_plan_of_a_sub_flow_is_drawn_within_the_plan() -> None:
    deepest = {"tasks": [a_task("fetch"), a_task("read", "fetch")]}
    inner = {"tasks": [a_task("begin"), a_task("within", "begin", task_type="SUBFLOW", plan=deepest)]}
    document = a_document(a_plan(a_task("first"), a_task("around", "first", task_type="SUBFLOW", plan=inner)))
    mermaid = drawn(document, "mermaid")
    assert '    subgraph t1s["around"]\n    t1st0["begin' in mermaid
    assert '    subgraph t1st1s["within"]\n    t1st1st0["fetch' in mermaid
    assert "    t1st1 -.-> t1st1s\n" in mermaid
    assert "    t1st1st0 ==> t1st1st1\n" in mermaid
    assert (mermaid.count("subgraph"), mermaid.count("\n    end\n")) == (2, 2)
    root = elements(drawn(document, "svg"))
    names = [element.text for element in root.iter(f"{SVG}text")]
    assert {"around/", "around/within/"} < {*names}
    assert len(root.findall(f".//{SVG}title")) == 6


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_stay_text(name: str) -> None:
    name = name.replace("\n", " ")
    document = a_document(
        a_plan(
            a_task(name, description=name, when=None),
            a_task(
                "b", name, task_type="WAIT", wait={"event": {"type": name[:200]}}, when=json.dumps(name) + ' == "x"'
            ),
        )
    )
    root = elements(drawn(document, "svg"))
    assert len(root.findall(f"{SVG}g")) == 2
    mermaid = drawn(document, "mermaid")
    label = r'"[^"<>&`\']*(?:<br/>[^"<>&`\']*)*"'
    shape = rf"[tc]\d+(?:\[{label}\]|\(\[{label}\]\)|{{{label}}})"
    for line in mermaid.splitlines()[1:]:
        assert re.fullmatch(rf"    (?:{shape}|[tc]\d+ (?:==>|-->) [tc]\d+|classDef .*|class [t\d,]+ critical)", line), (
            line
        )
    assert "\x1b" not in drawn(document, "text")


def test_two_thousand_tasks_are_drawn_and_more_are_not() -> None:
    document = sample_decision(MOST_TASKS, Shape.LAYERS, 1)
    assert len(elements(drawn(document, "svg")).findall(f"{SVG}g")) == MOST_TASKS
    larger = sample_decision(MOST_TASKS + 1, Shape.CHAIN, 1)
    assert flowc("plan", "draw", "-", stdin=json.dumps(larger)).exit_code == 2
    wide = a_document(a_plan(*(a_task(f"t{n}", *(f"t{m}" for m in range(n))) for n in range(160))))
    assert MOST_EDGES < 160 * 159 // 2
    result = flowc("plan", "draw", "-", stdin=json.dumps(wide))
    assert (result.exit_code, "are drawn" in result.stderr) == (2, True)


def test_a_plan_that_is_not_valid_is_not_drawn() -> None:
    result = flowc("plan", "draw", "-", stdin=json.dumps(a_document(a_plan(a_task("a", "a")))))
    assert (result.exit_code, "depends on itself" in result.stderr) == (1, True)


async def test_a_flow_is_drawn_with_its_present_states() -> None:
    async with Loopback() as server:
        api = Api(server, {})
        server.answer = api.answer
        api.answers |= {
            FLOW: {"flow_id": FLOW_ID},
            f"{FLOW}/decision": a_document(a_plan(a_task(TICKET["task_id"]), a_task("later", TICKET["task_id"]))),
            f"{FLOW}/tickets": {"items": [{**TICKET, "status": "RUNNING"}], "cursor": None},
        }
        text = (await api.flowc("plan", "draw", FLOW_ID)).stdout
        svg = (await api.flowc("plan", "draw", FLOW_ID, "--format", "svg")).stdout
    assert re.search(rf"{TICKET['task_id']} +RUNNING", text)
    assert "#bbdefb" in svg


def test_the_schema_is_printed() -> None:
    assert json.loads(flowc("plan", "schema").stdout)["title"] == "CognitivePlan"
    assert json.loads(flowc("plan", "schema", "--decision").stdout)["title"] == "Decision"
