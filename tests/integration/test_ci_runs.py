"""What every executor for a CI server does, against the contract server of each: runs begun once, found, judged."""

from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from functions._executors import ci_runs
from functions._executors.ci_runs import CiExecutor
from functions._executors.github_actions import GithubActionsExecutor
from functions._executors.gitlab_ci import GitlabCiExecutor
from functions._executors.jenkins import JenkinsExecutor
from functions._worker.jobs import JobsExecutor
from tests.support import github_api, gitlab_api, jenkins_api
from tests.support.ci import failure, run, settings_for
from tests.support.loopback import Answer, Request


@dataclass(frozen=True, kw_only=True)
class CiCase:
    """One executor, and the server that it is tested against."""

    executor: Callable[..., CiExecutor[Any]]
    server: Callable[[], Any]
    variables: str
    """The middle of the names of the worker's variables about it."""
    token: str
    given: dict[str, Any]
    begins: str
    """How the path ends that a run is asked for by."""
    keys: Callable[[Any], list[str]]
    """Returns the keys of all runs that were begun."""
    fails: str
    """How a server says that a run has failed."""
    refused: Mapping[str, Any]
    """What of the parameters the server does not know."""
    without: Mapping[str, Any] = field(default_factory=dict)
    """What is changed at the server so that it refuses."""
    percent: str = ""
    """How it says a coverage; empty of one that says none by itself."""
    nonsense: tuple[str, ...] = ()
    """Coverages that cannot be, as it may say them."""
    wrong: tuple[tuple[dict[str, Any], str], ...]
    """Changes of the parameters that are refused before any call, and of which kind that is."""
    secret: str
    """Where a secret must not be: a JSON Pointer to `hunter2hunter2` in one of them."""
    environment: Mapping[str, str] = field(default_factory=dict)

    def made(self, url: str, token: str, **changes: Any) -> CiExecutor[Any]:
        """Return the executor, with a server at `url`."""
        return self.executor(settings_for(self.variables, url, token, environment=self.environment, **changes))


GITHUB = CiCase(
    executor=GithubActionsExecutor,
    server=github_api.GithubServer,
    variables="GITHUB",
    token=github_api.TOKEN,
    given={"provider": "github_actions", "repository": "acme/shop", "workflow": "test.yml", "ref": "main"},
    begins="/dispatches",
    keys=lambda server: [made.inputs["flowc_key"] for made in server.runs.values()],
    fails="failure",
    refused={},
    without={"declared": frozenset()},
    wrong=(
        ({"repository": "evil/shop"}, "not_allowed"),
        *(
            ({"repository": name}, "bad_parameters")
            for name in ("acme/shop/x", "acme/..", "../acme", "acme/sh?op", "acme")
        ),
        ({"workflow": "../../other"}, "bad_parameters"),
        ({"workflow": ".."}, "bad_parameters"),
        ({"ref": "--upload-pack=x"}, "bad_parameters"),
        ({"ref": "a b"}, "bad_parameters"),
        ({"inputs": {"flowc_key": "mine"}}, "bad_parameters"),
        ({"inputs": {f"i{number}": "x" for number in range(25)}}, "bad_parameters"),
        ({"url": "http://evil.test"}, "bad_parameters"),
        ({"min_coverage": 0.5}, "bad_parameters"),
        ({"min_coverage": 80, "artifact": "reports"}, "bad_parameters"),
        ({"artifact": "reports", "reports": ["../x.xml"]}, "bad_parameters"),
        ({"inputs": {"browser": "hunter2hunter2"}}, "secret_in_inputs"),
    ),
    secret="/inputs/browser",
)

GITLAB = CiCase(
    executor=GitlabCiExecutor,
    server=gitlab_api.GitlabServer,
    variables="GITLAB",
    token=gitlab_api.TOKEN,
    given={"provider": "gitlab_ci", "project": "acme/web/shop", "ref": "main"},
    begins="/pipeline",
    keys=lambda server: [made.variables["FLOWC_KEY"] for made in server.pipelines.values()],
    fails="failed",
    refused={"ref": "none"},
    percent="{}",
    nonsense=("1e9", "-1"),
    wrong=(
        ({"project": "evil/shop"}, "not_allowed"),
        ({"project": "acme/../evil"}, "bad_parameters"),
        ({"project": "acme"}, "bad_parameters"),
        ({"project": "acme/shop?x=1"}, "bad_parameters"),
        ({"variables": {"FLOWC_KEY": "mine"}}, "bad_parameters"),
        ({"variables": {"LD_PRELOAD": "x"}}, "bad_parameters"),
        ({"variables": {"A": "hunter2hunter2"}}, "secret_in_inputs"),
    ),
    secret="/variables/A",
)

JENKINS = CiCase(
    executor=JenkinsExecutor,
    server=jenkins_api.JenkinsServer,
    variables="JENKINS",
    token=jenkins_api.TOKEN,
    given={"provider": "jenkins", "job": "acme/shop tests"},
    begins="/buildWithParameters",
    keys=lambda server: [made.parameters["FLOWC_KEY"] for made in server.items.values()],
    fails="UNSTABLE",
    refused={"job": "acme/none"},
    percent="{}%",
    nonsense=("1e9%", "-1%", "much"),
    wrong=(
        ({"job": "evil/shop"}, "not_allowed"),
        ({"job": "acme/../evil"}, "bad_parameters"),
        ({"job": "acme//x"}, "bad_parameters"),
        ({"job": "acme/x?a=1"}, "bad_parameters"),
        ({"inputs": {"FLOWC_KEY": "mine"}}, "bad_parameters"),
        ({"inputs": {"A": "hunter2hunter2"}}, "secret_in_inputs"),
    ),
    secret="/inputs/A",
    environment={"WORKER_JENKINS_USER": jenkins_api.USER},
)

CASES = {"github": GITHUB, "gitlab": GITLAB, "jenkins": JENKINS}
COVERING = {name: case for name, case in CASES.items() if case.percent}


def cases(known: Mapping[str, CiCase]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("case", known.values(), ids=known)


@pytest.fixture
async def server(case: CiCase) -> AsyncIterator[Any]:
    async with case.server() as served:
        yield served


@pytest.fixture
async def jobs(case: CiCase, server: Any, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[JobsExecutor]:
    monkeypatch.setattr(ci_runs, "PATIENCE", (0.02,) * 5)
    made = JobsExecutor([case.made(server.url, case.token)], pauses=(0.02, 0.02, 0.02))
    yield made
    await made.aclose()


@cases(CASES)
async def test_a_run_of_a_lost_attempt_is_taken_over_and_one_that_failed_is_followed_by_another(
    case: CiCase, server: Any, jobs: JobsExecutor
) -> None:
    first = await run(jobs, case.given)
    again = await run(jobs, case.given, attempt=2)
    assert (first["job"]["adopted"], again["job"]["adopted"]) == (False, True)
    assert first["url"] == again["url"]
    assert case.keys(server) == ["t-1-0"]
    server.ends_as = case.fails
    for attempt, retries in ((1, 0), (2, 0), (3, 1)):
        await failure(jobs, case.given, ticket_id="t-2", attempt=attempt, retry_count=retries)
    assert case.keys(server) == ["t-1-0", "t-2-0", "t-2-0", "t-2-1"]


@cases(CASES)
@pytest.mark.parametrize("status", [502, 504])
async def test_one_whose_answer_was_lost_is_begun_once(
    case: CiCase, server: Any, jobs: JobsExecutor, status: int
) -> None:
    answer = server.answer
    lost: list[Request] = []

    async def lose(request: Request) -> Answer:
        told: Answer = await answer(request)
        if request.method == "POST" and request.path.endswith(case.begins) and not lost:
            lost.append(request)
            return Answer(status)
        return told

    server.answer = lose
    assert (await run(jobs, case.given))["job"]["adopted"]
    assert case.keys(server) == ["t-1-0"]


@cases(CASES)
async def test_a_server_in_trouble_is_asked_again_and_a_refusal_has_words(
    case: CiCase, server: Any, jobs: JobsExecutor
) -> None:
    server.faults.extend([Answer(429, b"", {"retry-after": "1"}), Answer(503)])
    assert (await run(jobs, case.given))["conclusion"] == "success"
    assert case.keys(server) == ["t-1-0"]
    for name, value in case.without.items():
        setattr(server, name, value)
    failed = await failure(jobs, {**case.given, **case.refused}, ticket_id="t-2")
    assert (failed.kind, failed.retryable) == ("refused", False)
    assert "there has to be the" in failed.message


@cases(COVERING)
async def test_too_little_coverage_fails_the_task_and_so_does_none(
    case: CiCase, server: Any, jobs: JobsExecutor
) -> None:
    assert (await failure(jobs, {**case.given, "min_coverage": 0.1})).kind == "coverage"
    server.coverage = case.percent.format("79.9")
    failed = await failure(jobs, {**case.given, "min_coverage": 0.8}, ticket_id="t-2")
    assert (failed.kind, failed.retryable) == ("coverage", False)
    for number, nonsense in enumerate(case.nonsense):
        server.coverage = nonsense
        assert (await failure(jobs, case.given, ticket_id=f"t-3{number}")).kind == "report"


@cases(COVERING)
@pytest.mark.parametrize("long_report", [False, True])
async def test_a_run_that_fails_names_its_tests(
    case: CiCase, server: Any, jobs: JobsExecutor, long_report: bool
) -> None:
    server.ends_as, server.failing, server.long_report = case.fails, 2, long_report
    failed = await failure(jobs, case.given)
    assert (failed.kind, failed.retryable) == ("tests_failed", True)
    names = "" if long_report else ": Cart.t0, Cart.t1"
    assert failed.message.startswith(f"the run ended as {case.fails.lower()}: 2 of 9 tests failed{names}; ")


WRONG = [
    pytest.param(case, changes, kind, id=f"{name}-{changes}"[:80])
    for name, case in CASES.items()
    for changes, kind in case.wrong
]


@pytest.mark.parametrize(("case", "changes", "kind"), WRONG)
async def test_what_must_not_be_is_refused_before_any_call(
    case: CiCase, server: Any, jobs: JobsExecutor, changes: dict[str, Any], kind: str
) -> None:
    secrets = [case.secret] if kind == "secret_in_inputs" else []
    failed = await failure(jobs, {**case.given, **changes}, secrets=secrets)
    assert (failed.kind, failed.retryable) == (kind, False)
    assert "hunter2" not in failed.message
    assert server.requests == []


@cases(CASES)
async def test_the_doctor_tries_the_token(case: CiCase, server: Any) -> None:
    for token, repositories, ok in (
        (case.token, ["acme/*"], [True, True, True]),
        ("wrong", [], [False, True, False]),
    ):
        executor = case.made(server.url, token, repositories=repositories)
        assert [check.ok for check in await executor.check()] == ok
        await executor.aclose()
