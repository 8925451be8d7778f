"""C1 and executors: parameters of a known provider are checked, references forgiven, capabilities derived."""

from typing import Any

import pytest

from functions._core.decision.checks import check_plan
from functions._core.errors import Rejected
from functions._core.executors import unused
from functions._core.executors.answers import NoSuchPlace, place_in, value_at
from functions._core.executors.execute import CommandParameters, HttpParameters
from functions._core.executors.parameters import checked_parameters
from functions._core.executors.table import EXECUTORS, capability_of, least_timeout_of, model_of
from functions._core.planning.tickets import generate_tickets
from functions._core.records.models import Ticket
from functions._core.records.values import TaskType
from functions._core.rules import Rules
from tests.support.decisions import NOW, a_decision, a_flow, a_task


def faults(*parameters: Any, task_type: str = "EXECUTE") -> list[tuple[str, str]]:
    """Return place and text of what C1 finds in a plan with a task for each parameters."""
    tasks = [a_task(f"t{n}", task_type=task_type, parameters=given) for n, given in enumerate(parameters)]
    errors, _ = check_plan(a_decision(a_task("up"), *tasks), NOW)
    return [((error.where or "").removeprefix("cognitive_plan.tasks"), error.message) for error in errors]


def tickets_of(*tasks: dict[str, Any]) -> dict[str, Ticket]:
    decision = a_decision(*tasks)
    return {ticket.task_id: ticket for ticket in generate_tickets(a_flow(decision), decision, NOW, Rules())}


@pytest.mark.parametrize(
    ("task_type", "provider", "said"),
    [
        ("TEST", "pytests", "there is no such executor, so a worker of yours has to know it; is pytest meant?"),
        ("TEST", "GitHub-Actions", "there is no such executor, so a worker of yours has to know it; is github_actions"),
        ("EXECUTE", "pytest", "the executor pytest does tasks of the types TEST, none of the type EXECUTE"),
        (
            "VALIDATE",
            "kubernetes",
            "the executor kubernetes does tasks of the types COMPENSATE, DEPLOY, none of",
        ),
        ("TEST", "pytest", "the executor pytest has no parameters here, so a worker of yours has to know what to do"),
        ("EXECUTE", "spark", ""),
        ("EXECUTE", {"$output": "up", "path": "/a"}, ""),
        ("EXECUTE", 7, ""),
    ],
)
def test_an_executor_that_will_not_do_a_task_is_named_in_a_warning(task_type: str, provider: Any, said: str) -> None:
    task = a_task("a", task_type=task_type, parameters={"provider": provider}, dependencies=["up"])
    errors, warnings = check_plan(a_decision(a_task("up"), task), NOW)
    assert errors == ()
    place = "cognitive_plan.tasks[1].parameters.provider"
    assert [one.message.startswith(f"{place}: {said}") for one in warnings] == ([True] if said else [])


def test_few_of_many_such_tasks_are_named_and_few_names_are_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    tasks = [a_task(f"t{n}", parameters={"provider": "pytest"}) for n in range(1_000)]
    assert len(check_plan(a_decision(*tasks), NOW)[1]) == 10
    compared: list[str] = []

    def matches(name: str, *_: object) -> list[str]:
        compared.append(name)
        return []

    monkeypatch.setattr(unused, "get_close_matches", matches)
    tasks = [a_task(f"t{n}", parameters={"provider": f"{n}" * 50}) for n in range(1_000)]
    assert check_plan(a_decision(*tasks), NOW)[1] == ()
    assert (len(compared), max(map(len, compared))) == (100, 40)


def test_a_bad_plan_is_refused_with_the_place_and_the_meaning_of_each_fault() -> None:
    found = faults(
        {"provider": "command", "argv": ["ls", 7], "limits": {"memory_mb": 1}, "netwrok": True},
        {"provider": "http", "url": "https://x.test/", "headers": {"a": 1}, "auth": {"bearer": "b", "header": "h"}},
    )
    assert [where for where, _ in found] == [
        "[1].parameters.limits.memory_mb",
        "[1].parameters.argv[1]",
        "[1].parameters.netwrok",
        "[2].parameters.headers.a",
        "[2].parameters.auth",
    ]
    assert "should be a valid string (provider command)" in found[1][1]
    assert "is no parameter of this executor; known are env, folder," in found[2][1]
    assert "takes one of: bearer; username and password; header and value" in found[4][1]


def test_of_very_many_faults_some_are_named() -> None:
    wrong = {"provider": "command", "argv": list(range(50))}
    assert len(faults(wrong)) == 20
    assert len(faults(*[wrong] * 50)) == 100


def test_what_is_missing_is_named() -> None:
    assert faults({"provider": "http"})[0] == (
        "[1].parameters.url",
        "cognitive_plan.tasks[1].parameters.url: is missing (provider http)",
    )
    assert "takes exactly one of argv and shell" in faults({"provider": "command"})[0][1]


@pytest.mark.parametrize(
    "parameters",
    [
        {"provider": "command", "argv": {"$output": "up", "path": "/argv"}},
        {"provider": "command", "argv": ["echo", {"$output": "up"}], "stdin": {"$output": "up"}},
        {"provider": "command", "argv": ["env"], "env": {"TOKEN": {"$secret": "token"}}},
        {"provider": "command", "argv": ["true"], "limits": {"memory_mb": {"$output": "up"}}},
        {"provider": "http", "url": {"$output": "up"}, "method": {"$output": "up"}, "poll": {"$output": "up"}},
        {
            "provider": "http",
            "url": "https://x.test",
            "auth": {"bearer": {"$secret": "token"}},
            "json": {"$output": "up"},
        },
        {"provider": "python", "callable": "json:dumps", "input": [{"$output": "up"}]},
    ],
)
def test_a_reference_counts_as_present_and_of_any_type(parameters: dict[str, Any]) -> None:
    tasks = a_task("up"), a_task("t", "up", parameters=parameters)
    assert check_plan(a_decision(*tasks), NOW)[0] == ()


def test_beside_a_reference_the_rest_is_checked() -> None:
    tasks = a_task("up"), a_task("t", "up", parameters={"provider": "command", "argv": {"$output": "up"}, "cpu": 1})
    assert [error.code for error in check_plan(a_decision(*tasks), NOW)[0]] == ["bad_parameters"]


@pytest.mark.parametrize(
    ("task_type", "parameters"),
    [
        ("EXECUTE", {"provider": "a-worker-of-mine", "anything": 1}),
        ("EXECUTE", {"provider": 7}),
        ("EXECUTE", {"argv": 7}),
        ("BUILD", {"provider": "command", "argv": 7}),
    ],
)
def test_a_provider_that_is_not_known_for_the_type_of_the_task_is_left_alone(
    task_type: str, parameters: dict[str, Any]
) -> None:
    assert faults(parameters, task_type=task_type) == []
    assert tickets_of(a_task("a", task_type=task_type, parameters=parameters))["a"].required_capabilities == ()


def test_a_compensation_is_checked_and_so_is_a_sub_plan() -> None:
    undone = a_task("a", compensation={"parameters": {"provider": "command", "argv": []}})
    within = a_task("b", task_type="SUBFLOW", plan={"tasks": [a_task("c", parameters={"provider": "http"})]})
    errors, _ = check_plan(a_decision(undone, within), NOW)
    assert [error.where for error in errors] == [
        "cognitive_plan.tasks[0].compensation.parameters.argv",
        "cognitive_plan.tasks[1].plan.tasks[0].parameters.url",
    ]


def test_no_reason_repeats_a_value() -> None:
    given = {"provider": "command", "argv": "hunter2", "env": {"A-B": "hunter2"}, "folder": "/hunter2"}
    assert "hunter2" not in str(faults(given))
    with pytest.raises(Rejected) as refused:
        checked_parameters(CommandParameters, given)
    assert refused.value.code == "bad_parameters"
    assert "hunter2" not in str(refused.value)


def test_what_was_resolved_is_data_and_no_reference() -> None:
    with pytest.raises(Rejected, match=r"parameters\.argv"):
        checked_parameters(CommandParameters, {"argv": {"$output": "up"}})


@pytest.mark.parametrize(
    ("task_type", "given"),
    [
        ("TEST", {"provider": "jenkins"}),
        ("DEPLOY", {"provider": "argocd"}),
        ("DEPLOY", {"provider": "flux", "action": "rollback"}),
        ("VALIDATE", {"provider": "scan"}),
    ],
)
def test_a_provider_without_a_word_more_is_that_of_a_worker_of_ones_own(task_type: str, given: dict[str, Any]) -> None:
    undo = {"task_type": "DEPLOY", "parameters": {"action": "rollback"}}
    one = a_task("t", task_type=task_type, required_capabilities=["own"], parameters=given, compensation=undo)
    errors, warnings = check_plan(a_decision(one), NOW)
    assert errors == ()
    assert [(warning.code, "a worker of yours" in warning.message) for warning in warnings] == [
        ("provider_not_used", True)
    ]
    assert tickets_of(one)["t"].required_capabilities == ("own",)


def test_a_program_without_a_word_more_is_refused() -> None:
    assert [place for place, _ in faults({"provider": "http"}, {"provider": "k8s_job"})] == [
        "[1].parameters.url",
        "[2].parameters.namespace",
        "[2].parameters.image",
    ]


def test_a_task_asks_for_its_executor_beside_what_it_asks_for_itself() -> None:
    run = {"provider": "command", "argv": ["true"]}
    undo = {"provider": "http", "url": "https://x.test"}
    tickets = tickets_of(
        a_task("a", parameters=run, required_capabilities=["gpu"], compensation={"parameters": undo}),
        a_task("b", parameters=run, compensation={"parameters": {"action": "rm"}}),
        a_task("c", compensation={"parameters": undo, "required_capabilities": ["net"]}),
    )
    assert tickets["a"].required_capabilities == ("execute:command", "gpu")
    undos = [ticket.undo.required_capabilities for ticket in tickets.values() if ticket.undo is not None]
    assert undos == [("execute:http", "gpu"), None, ("execute:http", "net")]


def test_every_executor_of_the_table_has_a_model_that_no_program_waits_for() -> None:
    assert {name: model_of(name).__name__ for name in EXECUTORS}.keys() == EXECUTORS.keys()
    assert capability_of("command") == "execute:command"


@pytest.mark.parametrize("path", ["..", "a/../../b", "/etc/passwd", "~/x", "a\\b", "a\0b", ""], ids=repr)
def test_a_path_that_leads_out_of_the_folder_of_the_job_is_refused(path: str) -> None:
    for given in ({"folder": path}, {"artifacts": [path]}):
        with pytest.raises(Rejected):
            checked_parameters(CommandParameters, {"argv": ["true"], **given})


@pytest.mark.parametrize("name", ["LD_PRELOAD", "DYLD_INSERT_LIBRARIES", "FLOWC_TICKET_ID", "A=B", "", "a b"])
def test_a_variable_that_would_change_what_is_run_is_refused(name: str) -> None:
    with pytest.raises(Rejected, match="may not be set"):
        checked_parameters(CommandParameters, {"argv": ["true"], "env": {name: "x"}})


DOCUMENT = {"items": [{"id": 1, "a b": "x"}, {"id": 2}], "empty": []}


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("", DOCUMENT),
        ("$", DOCUMENT),
        ("/items/0/id", 1),
        ("$.items[1].id", 2),
        ("$['items'][0][\"a b\"]", "x"),
        ("$.items[*].id", [1, 2]),
        ("$.empty[*].id", []),
    ],
)
def test_a_place_in_an_answer_is_a_pointer_or_a_path(path: str, value: object) -> None:
    assert value_at(DOCUMENT, path) == value


@pytest.mark.parametrize("path", ["items", "$..id", "$.items[?(@.id>1)]", "$.items[-1]", "$items", "/a~2"])
def test_another_place_is_refused_before_anything_runs(path: str) -> None:
    with pytest.raises(ValueError, match="JSON"):
        place_in(path)
    with pytest.raises(Rejected, match="outputs"):
        checked_parameters(HttpParameters, {"url": "https://x.test", "outputs": {"x": path}})


@pytest.mark.parametrize("path", ["/items/2/id", "$.nothing", "$.items[*].none"])
def test_a_place_with_nothing_in_it_is_named(path: str) -> None:
    with pytest.raises(NoSuchPlace):
        value_at(DOCUMENT, path)


def test_a_plan_that_tests_is_checked_and_asks_for_its_executor() -> None:
    given = {"provider": "github_actions", "repository": "acme/shop", "workflow": "test.yml", "ref": "main"}
    wrong = {**given, "repository": "https://evil.test/x", "token": "t", "min_coverage": 80}
    places = {place for place, _ in faults(wrong, task_type="TEST")}
    assert places == {f"[1].parameters.{name}" for name in ("repository", "token", "min_coverage")}
    referring = {**given, "ref": {"$output": "up"}, "inputs": {"a": {"$output": "up"}}}
    assert check_plan(a_decision(a_task("up"), a_task("t", "up", task_type="TEST", parameters=referring)), NOW)[0] == ()
    assert faults(wrong, task_type="BUILD") == []
    assert tickets_of(a_task("a", task_type="TEST", parameters=given))["a"].required_capabilities == (
        "test:github_actions",
    )


def test_a_build_by_a_forge_has_time_for_people_unless_its_plan_says_otherwise() -> None:
    asked = {"provider": "code_forge", "artifact_id": "acme/shop"}
    day = (1_800 + 86_400) * 1_000
    assert least_timeout_of(TaskType.BUILD, asked) == day
    assert least_timeout_of(TaskType.TEST, asked) == 0
    silent = a_task("silent", task_type="BUILD", parameters=asked)
    brief = a_task("brief", task_type="BUILD", parameters=asked, timeout_ms=5)
    decision = a_decision(silent, brief)
    made = {ticket.task_id: ticket for ticket in generate_tickets(a_flow(decision), decision, NOW, Rules())}
    assert (made["silent"].sla.timeout_ms, made["brief"].sla.timeout_ms) == (day, 5)
