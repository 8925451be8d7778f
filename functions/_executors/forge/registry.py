"""A container registry, by the API of the OCI distribution specification 1.1: blobs, manifests, tags, deletion.

    WORKER_FORGE_REGISTRY_URL                 the registry, with the path above its repositories: https://ghcr.io/acme
    WORKER_FORGE_REGISTRY_TOKEN, _TOKEN_FILE  a bearer token; with a user the password
    WORKER_FORGE_REGISTRY_USER                the user, who signs in (Basic), or is given a token by the service
    WORKER_FORGE_REGISTRY_HOSTS               hosts to which it may send the worker for tokens and blobs, with commas
    WORKER_FORGE_REGISTRY_CA_FILE             the certificates that are trusted

An answer is believed in nothing: what is read has the digest and the size that were asked for, an upload stays on its
server, and a password goes to the registry and to the hosts that the worker's owner names, and nowhere else.
"""

import asyncio
import re
from base64 import b64encode
from collections.abc import Mapping
from http import HTTPStatus
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlencode, urljoin, urlsplit

from functions._adapters.http.reply import Bounds, Reply
from functions._core.forge.packages import DOCKER_INDEX, DOCKER_MANIFEST, INDEX, MANIFEST, digest_of, repository_of
from functions._executors.calls import beside
from functions._executors.port import CallFailed, ToolCheck
from functions._executors.services import TOKEN_BYTES, ServiceApi, ServiceConnection, json_of_reply
from functions._executors.settings import PREFIX, ExecutorSettings

NAME = "FORGE_REGISTRY"

MANIFEST_BYTES = 4 * 1024 * 1024
"""Bytes of a manifest; the specification lets registries refuse larger ones."""

CHUNK = 8 * 1024 * 1024
"""Bytes of a part of an upload; what is not larger is sent at once."""

CALL_SECONDS = 60.0
BLOB_SECONDS = 600.0
"""How long a call may take that moves a blob, or a part of one."""

REDIRECTS = 3
"""How often the place of a blob may be another one."""

MOVED = frozenset({301, 302, 303, 307, 308})
FORBIDDEN = frozenset({400, 401, 403, 405, 501})
"""Statuses by which registries say that nothing is deleted."""

ACCEPT = f"{MANIFEST}, {INDEX}, {DOCKER_MANIFEST}, {DOCKER_INDEX}"


class RegistryManifest(NamedTuple):
    """A manifest as a registry has it."""

    data: bytes
    media_type: str
    digest: str
    """That of `data`, whatever the registry says."""


class RegistryApi(ServiceApi):
    """Calls one registry; all its methods raise `CallFailed`."""

    def __init__(self, settings: ExecutorSettings, name: str = NAME, url: str = "") -> None:
        """Open nothing yet; raises `ValueError` for what is no address. `url` is where it is unless settings say so."""
        super().__init__(ServiceConnection.from_settings(settings, name, url))
        parts = urlsplit(self.connection.url)
        self.host = parts.netloc
        """Host and port, as references begin."""
        self.prefix = parts.path.strip("/")
        """What all names of repositories begin with."""
        self._root = f"{parts.scheme}://{parts.netloc}"
        self._user = settings.environment.get(f"{PREFIX}{name}_USER", "").strip()
        hosts = settings.environment.get(f"{PREFIX}{name}_HOSTS", "")
        self._hosts = frozenset(filter(None, map(str.strip, hosts.lower().split(","))))
        self._proofs: dict[str, str] = {}

    def repository(self, *parts: str) -> str:
        """Return the name of a repository below the owner's address; raise `CallFailed` for what can be none."""
        try:
            return repository_of(self.prefix, *parts)
        except ValueError as error:
            raise CallFailed(str(error), transient=False, kind="bad_name") from error

    def place(self, repository: str) -> str:
        """Return a repository with its registry; empty where there is none."""
        return f"{self.host}/{repository}" if self.host else ""

    async def has_blob(self, repository: str, digest: str, size: int) -> bool:
        """Return whether the registry has a blob."""
        reply = await self._asked("HEAD", f"{self._root}/v2/{repository}/blobs/{digest}", repository)
        if reply.status == HTTPStatus.NOT_FOUND:
            return False
        said = self.checked(reply, "HEAD").headers.get("content-length", "").strip()
        if said.isascii() and said.isdecimal() and said != str(size):
            raise _wrong(f"the registry has {digest} with {said[:20]} bytes in place of {size}")
        return True

    async def put_blob(self, repository: str, digest: str, blob: bytes | Path) -> None:
        """Upload a blob that is not there yet: at once, or in parts where it is large."""
        size = len(blob) if isinstance(blob, bytes) else (await asyncio.to_thread(blob.stat)).st_size
        if await self.has_blob(repository, digest, size):
            return
        place = f"{self._root}/v2/{repository}/blobs/uploads/"
        reply = await self._asked("POST", place, repository)
        place = self._next(reply, "POST", place)
        sent = 0
        while size - sent > CHUNK:
            part = await asyncio.to_thread(_part, blob, sent, CHUNK)
            headers = {"content-type": "application/octet-stream", "content-range": f"{sent}-{sent + len(part) - 1}"}
            reply = await self._asked("PATCH", place, repository, headers, part, seconds=BLOB_SECONDS)
            place, sent = self._next(reply, "PATCH", place), sent + len(part)
        part = await asyncio.to_thread(_part, blob, sent, CHUNK)
        headers = {"content-type": "application/octet-stream"}
        if sent:
            headers["content-range"] = f"{sent}-{sent + len(part) - 1}"
        place += ("&" if urlsplit(place).query else "?") + urlencode({"digest": digest})
        self.checked(await self._asked("PUT", place, repository, headers, part, seconds=BLOB_SECONDS), "PUT")

    async def get_blob(self, repository: str, digest: str, size: int) -> bytes:
        """Return a blob of `size` bytes, which has that digest; from another host only where the owner names it."""
        place = f"{self._root}/v2/{repository}/blobs/{digest}"
        for _ in range(REDIRECTS + 1):
            own = urlsplit(place).netloc == self.host
            asked = self._asked if own else self._asked_elsewhere
            reply = await asked("GET", place, repository, most=size, seconds=BLOB_SECONDS)
            if reply.status not in MOVED:
                break
            place = self._place(reply.headers.get("location", ""), "a blob", place)
        self.checked(reply, "GET")
        if not reply.complete or len(reply.body) != size or digest_of(reply.body) != digest:
            raise _wrong(f"what the registry has as {digest} is something else")
        return reply.body

    async def manifest(self, repository: str, reference: str) -> RegistryManifest | None:
        """Return a manifest by its tag or digest; None where there is none."""
        place = f"{self._root}/v2/{repository}/manifests/{reference}"
        reply = await self._asked("GET", place, repository, {"accept": ACCEPT}, most=MANIFEST_BYTES)
        if reply.status == HTTPStatus.NOT_FOUND:
            return None
        digest = digest_of(self.checked(reply, "GET").body)
        if not reply.complete or (reference.startswith("sha256:") and digest != reference):
            raise _wrong(f"what the registry has as {reference[:80]} is something else")
        return RegistryManifest(reply.body, reply.headers.get("content-type", "").split(";")[0].strip(), digest)

    async def put_manifest(self, repository: str, reference: str, data: bytes, media_type: str) -> None:
        """Give a tag to a manifest whose blobs are there."""
        place = f"{self._root}/v2/{repository}/manifests/{reference}"
        reply = self.checked(await self._asked("PUT", place, repository, {"content-type": media_type}, data), "PUT")
        said = reply.headers.get("docker-content-digest", "").strip()
        if said and said != digest_of(data):
            raise _wrong("the registry took the manifest for another one")

    async def delete_manifest(self, repository: str, digest: str) -> bool:
        """Delete a manifest with its tags; return whether it was there."""
        place = f"{self._root}/v2/{repository}/manifests/{digest}"
        reply = await self._asked("DELETE", place, repository, actions="delete,pull,push")
        if reply.status == HTTPStatus.NOT_FOUND:
            return False
        if reply.status in FORBIDDEN:
            text = (
                f"the registry does not let the worker delete ({reply.status}): {self.host}/{repository}@{digest} stays"
            )
            raise CallFailed(text, transient=False, kind="deletion_forbidden")
        self.checked(reply, "DELETE")
        return True

    async def check_reach(self) -> ToolCheck:
        """Return whether the registry speaks this API and knows the worker, for `flowc doctor executor`."""
        try:
            reply = await self._asked("GET", f"{self._root}/v2/", "")
        except CallFailed as failure:
            return ToolCheck("registry", False, str(failure))
        return ToolCheck("registry", reply.ok, f"{self.connection.url} answered {reply.status}")

    async def _asked(  # noqa: PLR0913 - what a call may have
        self,
        method: str,
        place: str,
        repository: str,
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
        *,
        most: int = MANIFEST_BYTES,
        seconds: float = CALL_SECONDS,
        actions: str = "pull,push",
    ) -> Reply:
        """Make a call of the registry, proven as it asks for."""
        scope = f"repository:{repository}:{actions}" if repository else ""
        proof = self._proofs.get(scope, "")
        if not proof and not self._user and (token := await self.connection.credential()):
            proof = f"Bearer {token}"
        for repeated in (False, True):
            sent = {**(headers or {}), **({"authorization": proof} if proof else {})}
            reply = await self.sent(method, place, sent, body, Bounds(seconds, seconds, most))
            if reply.status != HTTPStatus.UNAUTHORIZED or repeated:
                break
            proof = self._proofs[scope] = await self._proven(reply, scope)
        return reply

    async def _asked_elsewhere(self, method: str, place: str, _: str, *, most: int, seconds: float) -> Reply:
        """Make a call of another host, which is told nothing of who asks."""
        return await self.sent(method, place, {}, b"", Bounds(seconds, seconds, most))

    async def _proven(self, refusal: Reply, scope: str) -> str:
        """Return what proves who calls, as a refusal asks for it."""
        scheme, _, said = refusal.headers.get("www-authenticate", "").partition(" ")
        secret = await self.connection.credential()
        basic = f"Basic {b64encode(f'{self._user}:{secret}'.encode()).decode()}" if self._user else ""
        if scheme.lower() == "basic" and basic:
            return basic
        known = dict(re.findall(r'([a-z]{1,20})="([^"]{0,1000})"', said[:4_000]))
        if scheme.lower() != "bearer" or not known.get("realm") or (secret and not basic):
            raise CallFailed("the registry does not know the worker", transient=False, kind="not_authenticated")
        realm = self._place(known["realm"], "who gives tokens")
        asked = {name: value for name, value in (("service", known.get("service")), ("scope", scope)) if value}
        url = f"{realm}{'&' if urlsplit(realm).query else '?'}{urlencode(asked)}"
        headers = {"authorization": basic} if basic else {}
        reply = await self.sent("GET", url, headers, b"", Bounds(CALL_SECONDS, CALL_SECONDS, TOKEN_BYTES))
        given = json_of_reply(self.checked(reply, "GET"))
        token = (given.get("token") or given.get("access_token")) if isinstance(given, Mapping) else None
        if not isinstance(token, str) or not re.fullmatch(r"[\x21-\x7e]{1,16000}", token):
            raise CallFailed("the registry's service gave no token", transient=False, kind="not_authenticated")
        return f"Bearer {token}"

    def _next(self, reply: Reply, method: str, place: str) -> str:
        """Return where an upload goes on: on the same server."""
        if not (location := self.checked(reply, method).headers.get("location", "")):
            raise CallFailed("the registry does not say where an upload goes on", kind="not_understood")
        return beside(place, location)

    def _place(self, url: str, what: str, beside_of: str = "") -> str:
        """Return an address that the registry names; raise `CallFailed` for one that its owner does not know."""
        try:
            url = urljoin(beside_of, url)
            parts = urlsplit(url)
            known = parts.netloc == self.host or parts.netloc.lower() in self._hosts
            secure = parts.scheme in {"https", urlsplit(self._root).scheme}
        except ValueError:
            known = secure = False
        if not (known and secure):
            text = f"the registry sends the worker elsewhere for {what} ({PREFIX}{self.connection.name}_HOSTS)"
            raise CallFailed(text, transient=False, kind="foreign_location")
        return url


def _part(blob: bytes | Path, begin: int, size: int) -> bytes:
    if isinstance(blob, bytes):
        return blob[begin : begin + size]
    with blob.open("rb") as file:
        file.seek(begin)
        return file.read(size)


def _wrong(text: str) -> CallFailed:
    return CallFailed(text, transient=False, kind="digest_mismatch")
