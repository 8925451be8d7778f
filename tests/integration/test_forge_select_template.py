"""The stage select_template: the best one is chosen and brought, at one version; and what is never brought."""

import os
import shutil
import time
from pathlib import Path
from typing import Any

import pytest

from functions._core.executors.execute import Limits
from functions._core.forge.stages import TemplateSource
from functions._executors.forge import git_templates, select_template, template_cache, templates_at
from functions._executors.forge.git_templates import newest_version
from functions._executors.port import CallFailed
from functions._executors.settings import ExecutorSettings
from functions._worker.tasks import TaskFailed
from tests.conftest import require
from tests.support.forge_projects import hash_of, written
from tests.support.forge_templates import COPIER, SERVICE, card, committed, git, select, settings_for
from tests.support.git_http import GitServer

WAYS = [pytest.param("on", marks=pytest.mark.slow), "off"]


@pytest.fixture(params=WAYS)
def settings(request: pytest.FixtureRequest, tmp_path: Path) -> ExecutorSettings:
    """Give a worker whose git runs in the sandbox, and one without it."""
    require(request.param == "off" or shutil.which("bwrap") is not None, "sudo apt-get install bubblewrap")
    tmp_path.chmod(0o755)  # jobs in the sandbox are another user
    return settings_for(tmp_path, request.param)


@pytest.fixture
def worker(tmp_path: Path) -> ExecutorSettings:
    return settings_for(tmp_path)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """Give a repository with three versions; the newest commit is none."""
    folder = tmp_path / "repositories" / "service"
    for tag in ("v1.0.0", "v1.10.0", "v1.9.0", "v2.0.0rc1", "nightly"):
        committed(folder, {**SERVICE, "VERSION": tag}, tag)
    committed(folder, {"VERSION": "main"})
    return folder


def moved(folder: Path, name: str) -> Path:
    return folder.rename(folder.with_name(name))


def of_git(folder: Path, **more: Any) -> dict[str, Any]:
    return card(source={"git": folder.as_uri(), **more})


async def failure(settings: ExecutorSettings, *cards: dict[str, Any], **wanted: Any) -> TaskFailed:
    with pytest.raises(TaskFailed) as failed:
        await select(settings, *cards, **wanted)
    return failed.value


def content_of(output: dict[str, Any]) -> bytes:
    data = Path(output["content"]["uri"].removeprefix("file://")).read_bytes()
    assert hash_of(data) == output["content"]["sha256"]
    return data


def files_of(output: dict[str, Any], folder: Path) -> dict[str, str]:
    shutil.unpack_archive(output["content"]["uri"].removeprefix("file://"), folder)
    return {path.relative_to(folder).as_posix(): path.read_text() for path in folder.rglob("*") if path.is_file()}


async def test_the_best_template_is_brought_with_its_questions(tmp_path: Path, worker: ExecutorSettings) -> None:
    written(tmp_path / "templates" / "service", SERVICE)
    others = [card("other", language="go", source={"folder": "nowhere"}), card("poor", quality=0.1)]
    output = await select(worker, *others, card(), language="python", artifact_type="service", capabilities=["http"])
    assert (output["template_id"], output["score"]) == ("service", 0.98)
    assert output["questions"]["required"] == ["project_name"]
    assert output["questions"]["properties"]["flavour"]["enum"] == ["plain", "rich"]
    assert (output["version"], output["cached"], output["language"]) == ("", False, "python")
    assert files_of(output, tmp_path / "seen") == dict(SERVICE)
    again = await select(worker, card())
    assert again["content"]["sha256"] == output["content"]["sha256"]
    assert not [*worker.folder.glob("t-select*")], "nothing of the job is left"


async def test_a_named_template_wins_and_none_that_fits_is_a_failure(tmp_path: Path, worker: ExecutorSettings) -> None:
    written(tmp_path / "templates" / "poor", SERVICE)
    output = await select(worker, card(), card("poor", quality=0.0), template_id="poor", language="rust")
    assert (output["template_id"], output["score"]) == ("poor", 1.0)
    for wanted in ({"language": "rust"}, {"template_id": "absent"}):
        failed = await failure(worker, card(), **wanted)
        assert (failed.kind, failed.retryable) == ("no_template", False)


async def test_a_template_of_flow_c_has_its_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(select_template, "SHIPPED", tmp_path / "shipped")
    written(tmp_path / "shipped" / "library", {**SERVICE, "__pycache__/x.pyc": b"1", "src/a.pyc": b"1"})
    output = await select(settings_for(tmp_path), card(source={"shipped": "library"}))
    assert output["version"] == "0.1.0"
    assert files_of(output, tmp_path / "seen").keys() == SERVICE.keys()
    for name in ("absent", "../templates", "/etc", "."):
        failed = await failure(settings_for(tmp_path), card(source={"shipped": name}))
        assert (failed.kind, failed.retryable) == ("no_template", False)


class TestRepository:
    async def test_the_newest_version_is_kept_for_an_hour(
        self, settings: ExecutorSettings, repository: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        first = await select(settings, of_git(repository))
        assert (first["version"], first["cached"]) == ("v1.10.0", False)
        assert first["commit"] == git(repository, "rev-parse", "v1.10.0")
        assert first["source"] == {"git": repository.as_uri(), "ref": "v1.10.0", "subfolder": "."}
        away = moved(repository, "away")
        second = await select(settings, of_git(repository))
        assert second == {**first, "cached": True}, "a second time nobody asks the repository"
        moved(away, repository.name)
        committed(repository, {}, "v1.11.0")
        assert (await select(settings, of_git(repository)))["version"] == "v1.10.0"
        late = time.time() + template_cache.CACHED_SECONDS + 1
        monkeypatch.setattr("functions._executors.forge.template_cache.time.time", lambda: late)
        renewed = await select(settings, of_git(repository))
        assert (renewed["version"], renewed["cached"]) == ("v1.11.0", False)

    async def test_what_is_named_is_taken(self, worker: ExecutorSettings, repository: Path, tmp_path: Path) -> None:
        commit = git(repository, "rev-parse", "v1.9.0")
        git(repository, "branch", "feature/x", "v1.0.0")
        for ref, text in {"v2.0.0rc1": "v2.0.0rc1", "feature/x": "v1.0.0", commit: "v1.9.0", "main": "main"}.items():
            output = await select(worker, of_git(repository, ref=ref))
            assert (output["version"], output["source"]["ref"]) == (ref, ref)
            assert files_of(output, tmp_path / f"seen-{ref}")["VERSION"] == text
        failed = await failure(worker, of_git(repository, ref="v7"))
        assert (failed.kind, failed.retryable) == ("no_template", False)

    async def test_without_a_version_the_default_branch_is_taken(
        self, worker: ExecutorSettings, tmp_path: Path
    ) -> None:
        folder = tmp_path / "repositories" / "plain"
        commit = committed(folder, {f"templates/one/{name}": content for name, content in SERVICE.items()})
        (folder / "templates/one/run.sh").chmod(0o755)
        commit = committed(folder, {})
        output = await select(worker, of_git(folder, subfolder="templates/one"))
        assert (output["version"], output["commit"], output["source"]["ref"]) == (commit, commit, commit)
        assert files_of(output, tmp_path / "seen").keys() == SERVICE.keys()
        assert os.access(tmp_path / "seen" / "run.sh", os.X_OK)

    async def test_what_is_kept_and_cannot_be_read_is_fetched_again(
        self, worker: ExecutorSettings, repository: Path
    ) -> None:
        await select(worker, of_git(repository))
        (kept,) = (worker.folder / template_cache.CACHE).iterdir()
        for content in (b"{}\n", kept.read_bytes()[:-1]):
            kept.write_bytes(content)
            assert not (await select(worker, of_git(repository)))["cached"], "a cut file counts as none"

    async def test_hooks_filters_and_large_files_of_a_repository_do_nothing(
        self, worker: ExecutorSettings, repository: Path, tmp_path: Path
    ) -> None:
        pwned = tmp_path / "pwned"
        for hook in ("post-checkout", "reference-transaction", "post-merge"):
            path = written(repository / ".git" / "hooks", {hook: f"#!/bin/sh\ntouch {pwned}\n"}) / hook
            path.chmod(0o755)
        git(repository, "config", "filter.evil.smudge", f"touch {pwned}")
        attributes = {".gitattributes": "* filter=evil diff=lfs export-ignore\n", "a.bin": "version https://git-lfs\n"}
        committed(repository, attributes, "v3.0.0")
        pwned.unlink(missing_ok=True)  # committing itself has run a hook
        output = await select(worker, of_git(repository))
        assert output["version"] == "v3.0.0"
        assert files_of(output, tmp_path / "seen")["a.bin"] == "version https://git-lfs\n"
        assert not pwned.exists()

    @pytest.mark.parametrize(
        ("source", "kind"),
        [
            ({"git": "https://evil.example/x"}, "not_allowed"),
            ({"git": "http://127.0.0.1:1/x"}, "not_allowed"),
            ({"git": "file:///etc"}, "not_allowed"),
            ({"git": "file://FOLDER/repositories/../secret"}, "not_allowed"),
            ({"git": "file://FOLDER/repositories/%2e%2e/secret"}, "not_allowed"),
            ({"git": "file://FOLDER/repositories/x%2F..%2f..%2Fsecret"}, "not_allowed"),
            ({"git": "https://git.example/acme/%2E%2e%2fother%2fx"}, "not_allowed"),
            ({"git": "ssh://%2doProxyCommand=id/x"}, "not_allowed"),
            ({"git": "ext::sh -c touch% /tmp/pwned"}, "not_allowed"),
            ({"git": "https://a:b@git.example/acme/x"}, "not_allowed"),
            ({"git": "--upload-pack=touch /tmp/pwned"}, "not_allowed"),
            ({"git": "git@git.example:acme/x"}, "not_allowed"),
            ({"git": "https://git.example/acme/x\nfile:///etc"}, "not_allowed"),
            ({"git": "https://[::1"}, "not_allowed"),
            ({"git": "ssh://git@evil.example/x"}, "not_allowed"),
            ({"git": "ssh://-oProxyCommand=id/x"}, "not_allowed"),
            ({"git": "git@evil.example:x"}, "not_allowed"),
            ({"git": "git@-oProxyCommand=id:x"}, "not_allowed"),
            ({"git": "file://FOLDER/repositories/service", "ref": "--upload-pack=x"}, "bad_parameters"),
            ({"git": "file://FOLDER/repositories/service", "ref": "a..b"}, "bad_parameters"),
            ({"git": "file://FOLDER/repositories/service", "ref": "a:refs/heads/b"}, "bad_parameters"),
            ({"git": "file://FOLDER/repositories/service", "subfolder": "../.."}, "bad_template"),
            ({"git": "file://FOLDER/repositories/service", "subfolder": "a\0b"}, "bad_template"),
            ({"git": "file://FOLDER/repositories/service", "subfolder": "a" * 200_000}, "bad_template"),
            ({"git": "file://FOLDER/repositories/absent"}, "git_failed"),
            ({"git": "file://FOLDER/repositories/service", "folder": "x"}, "bad_template"),
            ({}, "bad_template"),
        ],
    )
    async def test_another_address_is_never_called(self, tmp_path: Path, source: dict[str, str], kind: str) -> None:
        allowed = f"**, https://git.example/acme/*, file://{tmp_path}/repositories/**"
        settings = settings_for(tmp_path, WORKER_REPOSITORIES=allowed)
        named = {name: value.replace("FOLDER", str(tmp_path)) for name, value in source.items()}
        if named.get("git", "").startswith("https://evil"):
            settings = settings_for(tmp_path, WORKER_REPOSITORIES="https://git.example/**")
        failed = await failure(settings, card(source=named))
        assert failed.kind == kind
        assert failed.retryable is (kind == "git_failed")

    async def test_a_repository_has_bounds(
        self, worker: ExecutorSettings, repository: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        committed(repository, {"noise": os.urandom(3_000_000)}, "v5")
        limits = git_templates.LIMITS
        monkeypatch.setattr(git_templates, "LIMITS", Limits.model_validate({**limits.model_dump(), "file_mb": 1}))
        assert (await failure(worker, of_git(repository))).kind == "git_failed"
        monkeypatch.setattr(git_templates, "LIMITS", limits)
        monkeypatch.setattr(templates_at, "MOST_BYTES", 2_000_000)
        assert (await failure(worker, of_git(repository))).kind == "bad_template"
        monkeypatch.setattr(templates_at, "MOST_BYTES", 9_000_000)
        monkeypatch.setattr(templates_at, "MOST_FILES", 3)
        assert (await failure(worker, of_git(repository))).kind == "bad_template"
        monkeypatch.setattr(git_templates, "FETCH_SECONDS", 0.0)
        failed = await failure(worker, of_git(repository))
        assert (failed.kind, failed.retryable) == ("git_failed", True)

    async def test_links_and_submodules_are_refused(self, worker: ExecutorSettings, repository: Path) -> None:
        (repository / "link").symlink_to("/etc/passwd")
        committed(repository, {}, "v3")
        assert "has a link: link" in (await failure(worker, of_git(repository))).message
        git(repository, "rm", "-q", "link")
        commit = git(repository, "rev-parse", "HEAD")
        git(repository, "update-index", "--add", "--cacheinfo", f"160000,{commit},sub")
        git(repository, "commit", "-q", "-m", "a submodule")
        git(repository, "tag", "v4")
        assert "submodule" in (await failure(worker, of_git(repository))).message


class TestHttp:
    async def test_a_repository_over_http_with_a_token_of_the_owner(self, tmp_path: Path, repository: Path) -> None:
        async with GitServer(repository.parent) as server:
            server.token = "secret-of-git"
            source = {"git": f"{server.url}/service/.git"}
            allowed = {"WORKER_REPOSITORIES": f"{server.url}/**"}
            refused = await failure(settings_for(tmp_path, **allowed), card(source=source))
            assert (refused.kind, refused.retryable) == ("git_failed", True)
            token = {
                "GIT_CONFIG_COUNT": "1",
                "GIT_CONFIG_KEY_0": f"http.{server.url}/.extraHeader",
                "GIT_CONFIG_VALUE_0": "Authorization: Bearer secret-of-git",
                "WORKER_FORGE_SELECT_TEMPLATE_PASS": "GIT_CONFIG_COUNT,GIT_CONFIG_KEY_0,GIT_CONFIG_VALUE_0",
            }
            output = await select(settings_for(tmp_path, **allowed, **token), card(source=source))
            assert (output["version"], output["commit"]) == ("v1.10.0", git(repository, "rev-parse", "v1.10.0"))
            assert server.requests[-1].headers["git-protocol"] == "version=2"
            assert server.requests[-1].path == "/service/.git/git-upload-pack"

    async def test_a_redirect_leads_nowhere(self, tmp_path: Path, repository: Path) -> None:
        async with GitServer(repository.parent) as secret, GitServer(repository.parent) as server:
            server.elsewhere = secret.url
            settings = settings_for(tmp_path, WORKER_REPOSITORIES=f"{server.url}/**")
            failed = await failure(settings, card(source={"git": f"{server.url}/service/.git"}))
            assert failed.kind == "git_failed"
            assert (len(server.requests), secret.requests) == (1, [])


class TestFolder:
    @pytest.mark.parametrize("name", ["../secret", "/etc", "absent", ".", "", "service/../../secret", "a\0b"])
    async def test_nothing_but_a_folder_of_the_owner_is_read(self, tmp_path: Path, name: str) -> None:
        written(tmp_path / "secret", SERVICE)
        failed = await failure(settings_for(tmp_path), card(source={"folder": name}))
        assert (failed.kind, failed.retryable) == ("no_template", False)

    async def test_links_special_files_and_too_much_are_refused(
        self, tmp_path: Path, worker: ExecutorSettings, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        folder = written(tmp_path / "templates" / "service", SERVICE)
        (folder / "out").symlink_to("/etc")
        assert (await failure(worker, card())).message == "the template has a link: out"
        (folder / "out").unlink()
        os.mkfifo(folder / "pipe")
        assert "no plain file" in (await failure(worker, card())).message
        (folder / "pipe").unlink()
        monkeypatch.setattr(templates_at, "MOST_BYTES", 20)
        assert (await failure(worker, card())).kind == "bad_template"

    @pytest.mark.parametrize(
        "config",
        [
            {},
            {"copier.yml": COPIER, "copier.yaml": COPIER},
            {"copier.yml": "a: !include ../../etc/passwd"},
            {"copier.yml": "a: !!python/object/apply:os.system [id]"},
            {"copier.yml": "a: [" * 100},
            {"copier.yml": "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(f"b{n}: &b{n} [*a,*a,*a]\n" for n in range(9_000))},
            {"copier.yml": "\n".join(f"x{n}: 1" for n in range(9_000))},
            {"copier.yml": "_tasks: [id]"},
            {"copier.yml": "key: {type: str, secret: true, default: x}"},
        ],
    )
    async def test_questions_that_cannot_be_read_refuse_a_template(
        self, tmp_path: Path, worker: ExecutorSettings, config: dict[str, str]
    ) -> None:
        files: dict[str, str | bytes] = {"README.md": "x", **config}
        written(tmp_path / "templates" / "service", files)
        failed = await failure(worker, card())
        assert (failed.kind, failed.retryable) == ("bad_template", False)


@pytest.mark.parametrize(
    ("address", "pattern"),
    [
        ("https://git.example/acme/x.git", "**"),
        ("https://git.example/acme/x.git", "https://git.example/acme/*"),
        ("ssh://git@git.example:22/acme/x.git", "ssh://git@git.example:22/**"),
        ("git@git.example:acme/x.git", "git@git.example:acme/*"),
        ("file:///srv/templates/x", "file:///srv/templates/*"),
        ("http://127.0.0.1:8000/x", "http://127.0.0.1:8000/*"),
        ("https://git.example/acme/a%20b%C3%A9", "https://git.example/acme/*"),
    ],
)
def test_an_address_that_a_pattern_of_its_kind_allows_is_taken(tmp_path: Path, address: str, pattern: str) -> None:
    source = TemplateSource(git=address)
    assert git_templates.check_source(settings_for(tmp_path, WORKER_REPOSITORIES=pattern), source) == address
    if not address.startswith("https"):
        with pytest.raises(CallFailed):
            git_templates.check_source(settings_for(tmp_path, WORKER_REPOSITORIES="**, https://**"), source)


def test_the_newest_version_is_that_of_pep_440() -> None:
    assert newest_version(["v1.9", "1.10.0", "2.0.0a1", "latest", "3.0.dev1", "1.10.0.post1"]) == "1.10.0.post1"
    assert newest_version(["latest", "2.0rc1"]) is None
    assert newest_version(["1" * 5_000, "1.0"]) == "1.0", "a tag without end is none"


async def test_without_a_store_nothing_is_selected(tmp_path: Path) -> None:
    written(tmp_path / "templates" / "service", SERVICE)
    failed = await failure(settings_for(tmp_path, WORKER_LOGS=""), card())
    assert (failed.kind, failed.retryable) == ("not_configured", False)
