"""The language model of compose_code: what it is told, what is taken of its answers, and what is never taken."""

import json
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from functions._core.executors.forge import ComposeCodeParameters
from functions._executors.forge import language_model
from functions._executors.forge.compose_code import hashes_in
from functions._executors.forge.language_model import LanguageModel
from functions._executors.port import CallFailed
from functions._executors.settings import ExecutorSettings
from tests.support.forge_projects import kept_project, stored_context, written
from tests.support.forge_templates import compose, settings_for
from tests.support.llm_api import MODEL, TOKEN, ModelApi, error
from tests.support.loopback import Answer

FILES: dict[str, str | bytes] = {
    "copier.yml": "project_name: {type: str}\n",
    "src/main.py.jinja": "NAME = '{{ project_name }}'\n",
    "tests/test_main.py": "def test_adds():\n    assert 1 + 1 == 2\n",
    ".github/workflows/ci.yml": "on: push\n",
    "pyproject.toml": "[project]\n",
    "logo.png": b"\x89PNG\xff",
}
TEMPLATE = {"template_id": "any", "score": 0.9, "version": "1"}
NO_FILE = {"size": 0, "sha256": "0" * 64, "uri": "file:///nothing"}
ASKED: dict[str, Any] = {"inputs": {"project_name": "shop"}, "instructions": "Greet in the main module."}


@pytest.fixture
async def api() -> AsyncIterator[ModelApi]:
    async with ModelApi() as service:
        yield service


@pytest.fixture
def settings(tmp_path: Path, api: ModelApi, monkeypatch: pytest.MonkeyPatch) -> ExecutorSettings:
    monkeypatch.setattr(language_model, "PAUSES", (0.0, 0.0, 0.0))
    return settings_for(tmp_path, **api.variables)


@pytest.fixture
def chosen(tmp_path: Path) -> dict[str, Any]:
    kept = kept_project(stored_context(tmp_path / "store"), written(tmp_path / "source", FILES))
    return {**TEMPLATE, "content": kept.model_dump()}


def project(output: dict[str, Any], folder: Path) -> dict[str, bytes]:
    shutil.unpack_archive(output["content"]["uri"].removeprefix("file://"), folder)
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


async def changed(settings: ExecutorSettings, folder: Path, instructions: str = "Greet.") -> str | None:
    """Have files of a project changed, without a ticket and a template."""
    made = written(folder / "project", {"src/main.py": "NAME = 'shop'\n"})
    about = {"artifact_id": "shop", "template": {**TEMPLATE, "content": NO_FILE}, "instructions": instructions}
    context = stored_context(folder / "store", parameters=ComposeCodeParameters.model_validate(about))
    model = LanguageModel(settings)
    try:
        return await model.change(context, made, hashes_in(made))
    finally:
        await model.aclose()


async def failure(settings: ExecutorSettings, folder: Path) -> CallFailed:
    with pytest.raises(CallFailed) as failed:
        await changed(settings, folder)
    return failed.value


async def test_what_it_says_is_merged_and_recorded(
    settings: ExecutorSettings, chosen: dict[str, Any], api: ModelApi, tmp_path: Path
) -> None:
    api.says(src__main_dot_py="NAME = 'hello'\n", src__more_dot_py="MORE = 1\n", tests__test_more_dot_py="")
    output = await compose(settings, chosen, **ASKED)
    assert (output["generation_method"], output["model"], output["files"]) == ("HYBRID", MODEL, 8)
    files = project(output, tmp_path / "seen")
    assert files["src/main.py"] == b"NAME = 'hello'\n"
    assert files["logo.png"] == FILES["logo.png"]
    (request,) = api.requests
    said = json.loads(request.json["messages"][1]["content"])
    assert said["instructions"] == ASKED["instructions"]
    assert said["files"].keys() == {"src/main.py", "tests/test_main.py", "pyproject.toml"}
    assert said["other_files"] == [".copier-answers.yml", ".github/workflows/ci.yml", "logo.png"]
    assert (request.json["temperature"], request.json["response_format"]) == (0, {"type": "json_object"})


async def test_it_is_off_without_a_model_and_without_instructions(
    settings: ExecutorSettings, chosen: dict[str, Any], api: ModelApi, tmp_path: Path
) -> None:
    api.says(src__main_dot_py="x")
    without = await compose(settings, chosen, ASKED["inputs"])
    assert (without["generation_method"], without.get("model")) == ("TEMPLATE", None)
    assert await changed(settings_for(tmp_path), tmp_path) is None
    assert api.requests == []


async def test_an_answer_that_changes_nothing_is_none(
    settings: ExecutorSettings, api: ModelApi, tmp_path: Path
) -> None:
    api.says(src__main_dot_py="NAME = 'shop'\n")
    assert await changed(settings, tmp_path) is None
    api.says(src__main_dot_py="NAME = 'other'\n")
    assert await changed(settings, tmp_path) == MODEL


async def test_an_attempt_that_is_begun_again_takes_the_same_answer(
    settings: ExecutorSettings, chosen: dict[str, Any], api: ModelApi, tmp_path: Path
) -> None:
    api.says(src__main_dot_py="FIRST = 1\n")
    first = await compose(settings, chosen, **ASKED)
    api.says(src__main_dot_py="SECOND = 2\n")
    later = await compose(settings, chosen, **ASKED, attempt=3)
    assert later["content"]["sha256"] == first["content"]["sha256"]
    assert len(api.requests) == 1
    (kept,) = below(tmp_path / "store" / "t-compose", "language-model-*")
    kept.write_bytes(kept.read_bytes()[:-4])
    again = await compose(settings, chosen, **ASKED, attempt=2)
    assert again["content"]["sha256"] != first["content"]["sha256"], "what was cut when its writer was killed is none"


def below(folder: Path, pattern: str) -> list[Path]:
    return [*folder.rglob(pattern)]


@pytest.mark.parametrize(
    "path",
    [
        "../out.py",
        "/etc/out.py",
        "src/../../out.py",
        "src//main.py",
        "src\\main.py",
        ".github/workflows/ci.yml",
        ".gitlab-ci.yml",
        ".copier-answers.yml",
        ".git/hooks/post-commit",
        "src/.hidden/x.py",
        "tests/test_main.py",
        "Tests/Test_main.py",
        "conftest.py",
        "tests/conftest.py",
        "pyproject.toml",
        "setup.py",
        "hatch_build.py",
        "MANIFEST.in",
        "Makefile",
        "SRC/main.py",
        "src/main.py/x",
        "src",
        "a" * 200,
        "-rf",
        "src/ma in.py",
        "src/main\n.py",
        "",
    ],
)
def test_a_path_that_it_must_not_touch_refuses_the_answer(tmp_path: Path, path: str) -> None:
    written(tmp_path / "project", {"src/main.py": "x", "tests/test_main.py": "y", ".github/workflows/ci.yml": "z"})
    hashes = {"src/main.py": "", "tests/test_main.py": "", ".github/workflows/ci.yml": "", "pyproject.toml": ""}
    with pytest.raises(CallFailed) as refused:
        language_model.write_files(tmp_path / "project", language_model.checked({path: "evil"}, hashes))
    assert (refused.value.kind, refused.value.transient) == ("bad_model_answer", True)
    assert not [*tmp_path.rglob("out.py")]


async def test_garbage_and_too_much_fail_the_attempt(
    settings: ExecutorSettings, api: ModelApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(language_model, "PAUSES", ())
    too_many = json.dumps({"files": {f"f{n}.py": "" for n in range(language_model.MOST_FILES + 1)}})
    too_large = json.dumps({"files": {"a.py": "x" * (language_model.MOST_BYTES + 1)}})
    for said in ("I cannot do that.", "[]", '{"files": []}', '{"files": {"a.py": 1}}', "", too_many, too_large):
        api.said = said
        failed = await failure(settings, tmp_path)
        assert (failed.kind, failed.transient) == ("bad_model_answer", True), said[:40]
    api.says(src__a_dot_py="x")
    api.finish_reason = "length"
    assert str(await failure(settings, tmp_path)) == "the answer of the language model is not taken: it is cut"
    api.faults.append(Answer(200, b'{"choices": []}'))
    assert (await failure(settings, tmp_path)).kind == "bad_model_answer"
    api.faults.append(Answer(200, b"<html>"))
    assert (await failure(settings, tmp_path)).kind == "not_json"


async def test_a_service_that_is_busy_is_asked_again_and_one_that_refuses_is_not(
    settings: ExecutorSettings, api: ModelApi, tmp_path: Path
) -> None:
    api.faults += [error(429, "rate_limit_exceeded", retry_after="0"), error(503, "overloaded")]
    api.says(src__main_dot_py="OK = 1\n")
    assert await changed(settings, tmp_path) == MODEL
    assert len(api.requests) == 3
    wrong = settings_for(tmp_path, **{**api.variables, "WORKER_FORGE_LLM_TOKEN": "sk-wrong"})
    failed = await failure(wrong, tmp_path)
    assert (failed.kind, failed.transient) == ("unexpected_status", False)
    assert TOKEN not in str(failed)
    api.faults += [error(429, "insufficient_quota", retry_after="3600")] * 9
    failed = await failure(settings, tmp_path)
    assert (failed.kind, failed.transient) == ("unexpected_status", True), "nobody waits for an hour here"
    await api.stop()
    assert (await failure(settings, tmp_path)).transient
