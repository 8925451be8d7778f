"""The console: static files for a browser, at `/` and below `/console/`. They hold no data; that comes from the API.

Whoever asks gets them without a credential, as the page has to ask for it. Every file is read once and kept; a path
is looked up among those, so none leads out of the folder.
"""

import asyncio
import gzip
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from pathlib import Path

from fastapi import FastAPI, Request, Response
from starlette.exceptions import HTTPException

from functions.api.problems import not_found

FOLDER = Path(__file__).parent / "console"
HOME = "index.html"
TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
}
"""Media types of the files, by the ends of their names; others are not served."""

HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cache-control": "no-cache",
    "vary": "accept, accept-encoding",
}
"""No script but the console's own, nothing from another host, and no other page around it."""


@dataclass(frozen=True, slots=True)
class File:
    """A file as it is sent: its media type, its bytes, the same compressed, and the ETag of both."""

    media_type: str
    content: bytes
    compressed: bytes
    etag: str


@cache
def files() -> Mapping[str, File]:
    """Return all files of the console by their paths within its folder."""
    found = {}
    for path in sorted(FOLDER.rglob("*")):
        media_type = TYPES.get(path.suffix)
        if media_type is not None:
            content = path.read_bytes()
            etag = f'"{sha256(content).hexdigest()[:20]}"'
            found[path.relative_to(FOLDER).as_posix()] = File(media_type, content, gzip.compress(content), etag)
    return found


def install(app: FastAPI) -> None:
    """Serve the console. Its addresses may have any query, and ask for no role."""
    app.add_route("/", home, include_in_schema=False)
    app.add_route("/console", console, include_in_schema=False)
    app.add_route("/console/{path:path}", console, include_in_schema=False)


async def home(request: Request) -> Response:
    """Return the console to a browser, which asks for HTML; a program learns that `/` takes events."""
    if "text/html" not in request.headers.get("accept", ""):
        raise HTTPException(405)
    return await _answer(request, HOME)


async def console(request: Request) -> Response:
    """Return a file of the console; any path beside its files and folders is a page, which the file at `/` shows."""
    path = request.path_params.get("path", "")
    known = await asyncio.to_thread(files)
    folders = {name.partition("/")[0] for name in known if "/" in name}
    return await _answer(request, path if path in known or path.partition("/")[0] in folders else HOME)


async def _answer(request: Request, path: str) -> Response:
    file = (await asyncio.to_thread(files)).get(path)
    if file is None:
        raise not_found("file", path)
    headers = {**HEADERS, "etag": file.etag}
    if file.etag in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    content = file.content
    if "gzip" in request.headers.get("accept-encoding", ""):
        content, headers["content-encoding"] = file.compressed, "gzip"
    return Response(content, headers=headers, media_type=file.media_type)
