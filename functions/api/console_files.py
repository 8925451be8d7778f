"""The console: static files for a browser, at `/` and below `/console/`. They hold no data; that comes from the API.

Whoever asks gets them without a credential, as the page has to ask for it. Every file is read and compressed once and
kept; a path is looked up among those, so none leads out of the folder.
"""

import asyncio
import gzip
import re
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


LONGEST_HEADER = 1_000
"""Characters of a header that are read; what is longer counts as not sent."""

WEIGHT = re.compile(r"q=(0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?)")


@dataclass(frozen=True, slots=True)
class Sent:
    """The bytes of a file in one encoding, and their ETag: each encoding has its own, as caches may hold both."""

    content: bytes
    etag: str


@dataclass(frozen=True, slots=True)
class File:
    """A file as it is sent: its media type, as it is and compressed."""

    media_type: str
    plain: Sent
    compressed: Sent


@cache
def files() -> Mapping[str, File]:
    """Return all files of the console by their paths within its folder."""
    found = {}
    for path in sorted(FOLDER.rglob("*")):
        media_type = TYPES.get(path.suffix)
        if media_type is not None:
            content = path.read_bytes()
            name = sha256(content).hexdigest()[:20]
            compressed = Sent(gzip.compress(content, mtime=0), f'"{name}-gzip"')
            found[path.relative_to(FOLDER).as_posix()] = File(media_type, Sent(content, f'"{name}"'), compressed)
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
    packed = takes_gzip(_header(request, "accept-encoding"))
    sent = file.compressed if packed else file.plain
    headers = {**HEADERS, "etag": sent.etag}
    known = {tag.strip().removeprefix("W/") for tag in _header(request, "if-none-match").split(",")}
    if not known.isdisjoint({sent.etag, "*"}):
        return Response(status_code=304, headers=headers)
    if packed:
        headers["content-encoding"] = "gzip"
    return Response(sent.content, headers=headers, media_type=file.media_type)


def takes_gzip(accepted: str) -> bool:
    """Whether an Accept-Encoding wants gzip at least as much as no encoding; a part that cannot be read is left out."""
    weights: dict[str, float] = {}
    for part in accepted.lower().split(","):
        coding, separator, parameter = map(str.strip, part.partition(";"))
        weight = WEIGHT.fullmatch(parameter)
        if weight or not separator:
            weights[coding] = float(weight[1]) if weight else 1.0
    wanted = weights.get("gzip", weights.get("x-gzip", weights.get("*", 0.0)))
    return wanted > 0 and wanted >= weights.get("identity", 0.0)


def _header(request: Request, name: str) -> str:
    """Return a header, which may have come in several lines, as one."""
    text = ",".join(request.headers.getlist(name))
    return text if len(text) <= LONGEST_HEADER else ""
