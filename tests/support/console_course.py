"""The console over HTTP, as a browser loads it: the same on every host."""

import posixpath
import re
from pathlib import Path

import httpx

from functions.api.console_files import FOLDER, HEADERS, HOME, TYPES

BROWSER = {"accept": "text/html,*/*;q=0.8", "accept-encoding": "gzip"}
ASKED = re.compile(r"""(?:src|href)="([^"]+)"|(?:from|import)\s+'([^']+)'""")


async def the_console_comes(url: str) -> None:
    """Load the page and all that it asks for, without a credential; and learn that data asks for one."""
    async with httpx.AsyncClient(base_url=url, headers=BROWSER, trust_env=False, timeout=60) as client:
        loaded: dict[str, bytes] = {}
        wanted = {"/", *(f"/console/{path.relative_to(FOLDER)}" for path in FOLDER.rglob("pages/**/*.js"))}
        while wanted:
            path = wanted.pop()
            loaded[path] = await _file(client, path)
            for address in filter(None, (a or b for a, b in ASKED.findall(loaded[path].decode()))):
                wanted |= {posixpath.normpath(posixpath.join(posixpath.dirname(path), address))} - loaded.keys()
        assert {"/", "/console/app.js", "/console/style.css", "/console/icon.svg"} <= loaded.keys()
        assert (await client.get("/console/flows/some-flow", headers=BROWSER)).content == loaded["/"]
        assert (await client.get("/api/v1/flows")).status_code == 401
        assert (await client.get("/", headers={"accept": "application/json"})).status_code in {401, 405}


async def _file(client: httpx.AsyncClient, path: str) -> bytes:
    answer = await client.get(path)
    file = FOLDER / (HOME if path == "/" else path.removeprefix("/console/"))
    assert (answer.status_code, answer.headers["content-type"]) == (200, TYPES[Path(file).suffix]), path
    assert answer.content == file.read_bytes(), path
    assert HEADERS.items() <= {name.lower(): value for name, value in answer.headers.items()}.items(), path
    assert answer.headers["content-encoding"] == "gzip", path
    again = await client.get(path, headers={"if-none-match": answer.headers["etag"]})
    assert (again.status_code, again.content) == (304, b""), path
    return answer.content
