"""The files of the console: who gets them and with which headers, and what may not be in them."""

import asyncio
import gzip
import re
from base64 import b64decode
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
import pytest_asyncio
from fastapi import FastAPI

from functions._hosts.aws.environment import gateway
from functions.api.console_files import FOLDER, TYPES, files, install
from tests.conftest import ROOT
from tests.support.http_api import Api, problem_of, running_api
from tests.support.processes import Platform

KEY = "k" * 40
BROWSER = {"accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}
LARGEST = 150_000
"""Bytes of all files together as a browser receives them, which takes them compressed."""

LARGEST_ON_DISK = 206_000
"""Bytes of all files together as they are."""

FILES = sorted(path for path in FOLDER.rglob("*") if path.is_file())
CONTENTS = {path.relative_to(FOLDER).as_posix(): path.read_bytes() for path in FILES}
SCRIPTS = [path for path in FILES if path.suffix == ".js"]
IN_SESSION = pytest.mark.asyncio(loop_scope="session")


def names(path: Path) -> str:
    return path.relative_to(FOLDER).as_posix()


def through_lambda(app: FastAPI, accepted: str) -> Any:
    """Return the answer to a request for `app.js` that the gateway of AWS passes on."""
    http = {"method": "GET", "path": "/console/app.js", "sourceIp": "127.0.0.1", "protocol": "HTTP/1.1"}
    context = {"http": http, "stage": "$default"}
    headers = {"accept-encoding": accepted, "host": "flow.example"}
    event = {"version": "2.0", "rawPath": http["path"], "rawQueryString": "", "headers": headers}
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)  # Mangum runs in the current one of its thread
    try:
        return gateway(app)({**event, "requestContext": context, "isBase64Encoded": False}, None)
    finally:
        loop.close()


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def api(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Api]:
    """Give the api of a platform that asks for a key."""
    async with running_api(tmp_path_factory.mktemp("api"), api_key=KEY) as running:
        yield running


@IN_SESSION
class TestServed:
    async def test_a_browser_gets_the_console_and_a_program_learns_that_the_root_takes_events(self, api: Api) -> None:
        page = await api.client.get("/", headers=BROWSER)
        assert (page.status_code, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
        assert '<script type="module" src="/console/app.js"></script>' in page.text
        assert (await api.client.get("/console/flows/some-flow")).content == page.content
        for accept in ("*/*", "application/json", "application/xhtml+xml", ""):
            answer = await api.client.get("/", headers={"accept": accept, "x-api-key": KEY})
            problem_of(answer, 405, "method_not_allowed")
            assert "POST" in answer.headers["allow"]

    async def test_every_file_has_headers_that_keep_everything_else_out(self, api: Api) -> None:
        for name, content in CONTENTS.items():
            answer = await api.client.get(f"/console/{name}")
            assert (answer.status_code, answer.headers["content-type"]) == (200, TYPES[Path(name).suffix])
            assert answer.content == content
            policy = dict(part.strip().split(" ", 1) for part in answer.headers["content-security-policy"].split(";"))
            closed = {"default-src", "frame-ancestors", "base-uri", "form-action"}
            assert {policy.pop(directive) for directive in closed} == {"'none'"}
            assert policy.keys() == {"script-src", "connect-src", "style-src", "img-src"}
            assert set(policy.values()) == {"'self'"}
            assert answer.headers["x-content-type-options"] == "nosniff"
            assert answer.headers["referrer-policy"] == "no-referrer"
            assert "set-cookie" not in answer.headers

    async def test_a_file_that_the_browser_has_is_not_sent_again(self, api: Api) -> None:
        first = await api.client.get("/console/app.js")
        known = {"if-none-match": first.headers["etag"]}
        again = await api.client.get("/console/app.js", headers=known)
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", first.headers["etag"])
        assert (await api.client.get("/console/style.css", headers=known)).status_code == 200
        assert (await api.client.head("/console/app.js")).content == b""

    @pytest.mark.parametrize(
        "accepted",
        ["gzip", "GZIP", "gzip, deflate, br, zstd", "x-gzip", "*", "br;q=1, gzip;q=0.5", "gzip;q=0.001", "gzip ; q=1"],
    )
    async def test_a_file_is_compressed_for_those_who_take_it(self, api: Api, accepted: str) -> None:
        zipped = await api.client.get("/console/style.css", headers={"accept-encoding": accepted})
        assert zipped.headers["content-encoding"] == "gzip"
        assert int(zipped.headers["content-length"]) < len(CONTENTS["style.css"]) / 2
        assert zipped.content == CONTENTS["style.css"]
        assert "accept-encoding" in zipped.headers["vary"]

    @pytest.mark.parametrize(
        "accepted",
        [
            *("", "identity", "br", "gzip;q=0", "gzip;q=0.000", "*;q=0", "gzip;q=0, *", "identity, gzip;q=0.5"),
            *("gzip;q=2", "gzip;q=-1", "gzip;q=nan", "gzip;q=1e9", "gzip;level=9", "gzip;q=1;q=0", "gzipped", "g zip"),
            *(";", ",,,;;;q=", "q=1", ";q=1", b"\x00gzip", "gz\u0131p".encode(), "gzip\xff".encode("latin-1")),
            *("gzip," * 5_000, "gzip" + ";" * 20_000, "gzip;q=0." + "0" * 20_000, "a;q=1," * 3_000),
        ],
        ids=lambda value: str(value)[:24].encode("unicode_escape").decode(),
    )
    async def test_an_odd_accept_encoding_gets_the_file_as_it_is(self, api: Api, accepted: str | bytes) -> None:
        """No header costs more than its length."""
        headers = [(b"accept-encoding", accepted if isinstance(accepted, bytes) else accepted.encode())]
        for name in ("style.css", "app.js"):
            answer = await api.client.get(f"/console/{name}", headers=headers)
            assert (answer.status_code, answer.content) == (200, CONTENTS[name])
            assert "content-encoding" not in answer.headers
            assert "accept-encoding" in answer.headers["vary"]

    async def test_several_lines_count_as_one_and_each_encoding_has_its_own_etag(self, api: Api) -> None:
        lines = [("accept-encoding", "br"), ("accept-encoding", "gzip")]
        zipped = await api.client.get("/console/style.css", headers=lines)
        plain = await api.client.get("/console/style.css", headers={"accept-encoding": "identity"})
        assert zipped.headers["content-encoding"] == "gzip"
        assert zipped.headers["etag"] != plain.headers["etag"]
        for mine, other, accepted in ((zipped, plain, "gzip"), (plain, zipped, "identity")):
            asked = {"accept-encoding": accepted, "if-none-match": other.headers["etag"]}
            assert (await api.client.get("/console/style.css", headers=asked)).content == plain.content
            for known in (mine.headers["etag"], f'"a", W/{mine.headers["etag"]}', "*"):
                again = await api.client.get("/console/style.css", headers={**asked, "if-none-match": known})
                assert (again.status_code, again.content) == (304, b"")
                assert again.headers["vary"] == plain.headers["vary"]
        for unknown in ('"', "a" * 3_000, mine.headers["etag"][:-2], '""', ",,,"):
            asked = {"accept-encoding": "identity", "if-none-match": unknown}
            assert (await api.client.get("/console/style.css", headers=asked)).status_code == 200

    async def test_lambda_sends_what_is_compressed_in_base64_and_the_rest_as_text(self) -> None:
        app = FastAPI()
        install(app)
        for accepted, expected in (("gzip", True), ("identity", False)):
            answer = await asyncio.to_thread(through_lambda, app, accepted)
            assert answer["isBase64Encoded"] is expected
            assert ("content-encoding" in answer["headers"]) is expected
            body = gzip.decompress(b64decode(answer["body"])) if expected else answer["body"].encode()
            assert body == CONTENTS["app.js"]

    async def test_nothing_can_be_sent_to_it_and_what_it_has_not_is_not_there(self, api: Api) -> None:
        for method in ("POST", "PUT", "DELETE", "PATCH"):
            answer = await api.client.request(method, "/console/app.js", headers={"x-api-key": KEY}, json={})
            problem_of(answer, 405, "method_not_allowed")
        for path in ("lib/nothing.js", "pages/", "lib/%2e%2e/app.js", "lib/dom.js%00.css", f"lib/{'x' * 3000}.js"):
            problem_of(await api.client.get(f"/console/{path}"), 404, "unknown_file")

    @pytest.mark.parametrize(
        "path",
        [
            "/console/../console_files.py",
            "/console/%2e%2e/console_files.py",
            "/console/..%2fconsole_files.py",
            "/console/..\\console_files.py",
            "/console/%252e%252e%252fconsole_files.py",
            "/console//etc/passwd",
            "/console/lib/..%00/../../../../../../etc/passwd",
            "/console/....//....//console_files.py",
            "/console/%c0%ae%c0%ae/console_files.py",
            "/console/../api/v1/keys",
            "/console/..;/api/v1/keys",
        ],
    )
    async def test_no_path_leads_out_of_the_folder(self, platform: Platform, path: str) -> None:
        """Send the bytes of the path as they are: clients would make another one of it."""
        host = platform.url.removeprefix("http://")
        reader, writer = await asyncio.open_connection(*host.split(":"))
        writer.write(f"GET {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n".encode())
        head, _, body = (await reader.read()).partition(b"\r\n\r\n")
        writer.close()
        status = int(head.split(b" ", 2)[1])
        assert status in {200, 400, 404}, head
        if status == 200:  # a page that is not there is told by the console itself
            assert body == (FOLDER / "index.html").read_bytes()

    async def test_a_page_of_an_id_with_an_ending_is_the_console_as_well(self, api: Api) -> None:
        answer = await api.client.get("/console/workers/robot.js", headers=BROWSER)
        assert (answer.status_code, answer.headers["content-type"]) == (200, TYPES[".html"])


class TestContent:
    def test_all_files_together_are_small_and_each_is_served(self) -> None:
        assert {names(path) for path in FILES} == files().keys()
        received = {name: len(file.compressed.content) for name, file in files().items()}
        assert sum(received.values()) < LARGEST, received
        sizes = {name: len(content) for name, content in CONTENTS.items()}
        assert sum(sizes.values()) < LARGEST_ON_DISK, sizes

    def test_every_command_that_is_named_exists(self) -> None:
        known = set(
            re.findall(
                r"^### flowc ([a-z-]+)", (ROOT / "docs/reference/cli.md").read_text(encoding="utf-8"), re.MULTILINE
            )
        )
        named = {word for content in CONTENTS.values() for word in re.findall(r"\bflowc ([a-z-]+)", content.decode())}
        assert len(named) > 5
        assert named - known == set()

    @pytest.mark.parametrize("path", FILES, ids=names)
    def test_every_file_is_text_without_anything_that_hides(self, path: Path) -> None:
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f\u200b-\u200f\u202a-\u202e\u2066-\u2069\ufeff]", text)
        assert text.endswith("\n")
        if path.suffix == ".svg":
            assert {element.tag.rpartition("}")[2] for element in ET.fromstring(text).iter()}.isdisjoint(  # noqa: S314
                {"script", "foreignObject", "use", "image", "a", "set", "animate"}
            )

    @pytest.mark.parametrize("path", FILES, ids=names)
    def test_nothing_comes_from_elsewhere(self, path: Path) -> None:
        text = path.read_text(encoding="utf-8").replace("http://www.w3.org/", "")
        assert not re.search(r"(?:src|href|url|import|from|fetch)\b[\s=('\"]*(?:https?:)?//", text)
        assert "@import" not in text

    def test_the_page_has_no_script_or_style_of_its_own(self) -> None:
        page = (FOLDER / "index.html").read_text(encoding="utf-8")
        assert re.findall(r"<script[^>]*>(.*?)</script>", page, re.DOTALL) == [""]
        assert not re.search(r"<style|\sstyle=|\son\w+=|javascript:", page)
        assert re.search(r'<html lang="en">', page)

    @pytest.mark.parametrize("path", SCRIPTS, ids=names)
    def test_no_script_makes_markup_or_code_out_of_text(self, path: Path) -> None:
        text = path.read_text(encoding="utf-8")
        dangerous = (
            r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|\bFunction\(|srcdoc|DOMParser|"
            r"createContextualFragment|setHTMLUnsafe|parseHTMLUnsafe|document\.cookie|localStorage|"
            r"set(?:Timeout|Interval)\(\s*['\"`]|\bimport\(\s*[a-z]|postMessage|window\.open\("
        )
        assert re.findall(dangerous, text) == []

    @pytest.mark.parametrize("path", SCRIPTS, ids=names)
    def test_every_module_that_is_imported_is_there(self, path: Path) -> None:
        text = path.read_text(encoding="utf-8")
        for name in re.findall(r"(?:from|import)\s+'([^']+)'", text):
            assert name.startswith("."), name
            assert (path.parent / name).resolve() in FILES, name
