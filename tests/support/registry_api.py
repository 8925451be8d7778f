"""A container registry on loopback, as the OCI distribution specification 1.1 describes one (`spec.md`).

Pull, push (at once, and in parts), content management, and the token service of the Docker registry (`auth/token.md`).
What is uploaded has to have the digest that it is uploaded by; a manifest names blobs that are there.
"""

import asyncio
import hashlib
import json
import re
import sys
from base64 import b64decode
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

from tests.support.loopback import Answer, Loopback, Request

USER, PASSWORD, TOKEN = "robot", "registry-password", "token-of-the-service"
ROUTE = re.compile(r"/v2/(?P<name>.+)/(?P<kind>blobs/uploads|blobs|manifests|tags)/?(?P<what>[^/]*)")


@dataclass
class Repository:
    """Blobs by digest, manifests by digest, tags."""

    blobs: dict[str, bytes] = field(default_factory=dict)
    manifests: dict[str, tuple[bytes, str]] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)


class RegistryServer(Loopback):
    """`auth` is none, basic, token (of the service at /token) or bearer; `faults` are answered first, one to each."""

    def reset(self) -> None:
        super().reset()
        self.answer = self._answer
        self.repositories: dict[str, Repository] = {}
        self.uploads: dict[str, bytearray] = {}
        self.faults: deque[Answer | None] = deque()
        self.auth = "none"
        self.realm = ""
        self.deletes = True

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.port}"

    def repository(self, name: str) -> Repository:
        return self.repositories.setdefault(name, Repository())

    def put_image(self, name: str, layers: list[bytes], config: dict[str, Any], **more: str) -> str:
        """Put an image there, as a push does; return its digest."""
        there = self.repository(name)
        kind = more.get("layer", "application/vnd.oci.image.layer.v1.tar+gzip")
        data = json.dumps(config).encode()
        there.blobs |= {digest(blob): blob for blob in (*layers, data)}
        described = [{"mediaType": kind, "digest": digest(blob), "size": len(blob)} for blob in layers]
        config_kind = "application/vnd.oci.image.config.v1+json"
        manifest = {
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": {"mediaType": config_kind, "digest": digest(data), "size": len(data)},
            "layers": described,
        }
        return self.put_manifest(name, manifest)

    def put_manifest(self, name: str, manifest: dict[str, Any]) -> str:
        text = json.dumps(manifest).encode()
        self.repository(name).manifests[digest(text)] = (text, manifest["mediaType"])
        return digest(text)

    def asked(self, method: str, part: str = "") -> list[str]:
        return [one.path for one in self.requests if one.method == method and part in one.path]

    async def _answer(self, request: Request) -> Answer:
        if self.faults and (fault := self.faults.popleft()) is not None:
            return fault
        if request.path == "/token":
            return self._token(request)
        if not self._known(request):
            return self._challenge()
        found = ROUTE.fullmatch(request.path)
        if found is None:
            return Answer(200) if request.path == "/v2/" else _error(404, "NAME_UNKNOWN")
        name, kind, what = found["name"], found["kind"], found["what"]
        ways = {"blobs/uploads": self._upload, "blobs": self._blob, "manifests": self._manifest, "tags": self._tags}
        return ways[kind](request, name, what)

    def _known(self, request: Request) -> bool:
        said = request.headers.get("authorization", "")
        return {
            "none": True,
            "basic": said.startswith("Basic ") and b64decode(said[6:]).decode() == f"{USER}:{PASSWORD}",
            "token": said == f"Bearer {TOKEN}",
            "bearer": said == f"Bearer {PASSWORD}",
        }[self.auth]

    def _challenge(self) -> Answer:
        bearer = f'Bearer realm="{self.realm or self.url + "/token"}",service="registry"'
        ways = {"basic": 'Basic realm="registry"', "token": bearer, "bearer": 'Bearer realm="x"'}
        return Answer(401, b"{}", {"www-authenticate": ways[self.auth]})

    def _token(self, request: Request) -> Answer:
        said = request.headers.get("authorization", "")
        if said[:6] != "Basic " or b64decode(said[6:]).decode() != f"{USER}:{PASSWORD}":
            return Answer(401)
        return Answer(200, json.dumps({"token": TOKEN}).encode(), {"content-type": "application/json"})

    def _upload(self, request: Request, name: str, what: str) -> Answer:
        if request.method == "POST":
            what = uuid4().hex
            self.uploads[what] = bytearray()
            return Answer(202, b"", {"location": f"/v2/{name}/blobs/uploads/{what}?state=1"})
        if what not in self.uploads:
            return _error(404, "BLOB_UPLOAD_UNKNOWN")
        upload = self.uploads[what]
        begin = request.headers.get("content-range", f"{len(upload)}-").split("-")[0]
        if request.body and int(begin) != len(upload):
            return _error(416, "BLOB_UPLOAD_INVALID")
        upload += request.body
        if request.method == "PATCH":
            return Answer(202, b"", {"location": f"/v2/{name}/blobs/uploads/{what}?state={len(upload)}"})
        del self.uploads[what]
        wanted = request.query["digest"]
        if digest(bytes(upload)) != wanted:
            return _error(400, "DIGEST_INVALID")
        self.repository(name).blobs[wanted] = bytes(upload)
        return Answer(201, b"", {"location": f"/v2/{name}/blobs/{wanted}"})

    def _blob(self, request: Request, name: str, what: str) -> Answer:
        blob = self.repository(name).blobs.get(what)
        if blob is None:
            return _error(404, "BLOB_UNKNOWN")
        if request.method == "HEAD":
            return Answer(200, b"", {"content-length": str(len(blob))})
        return Answer(200, blob)

    def _manifest(self, request: Request, name: str, what: str) -> Answer:
        there = self.repository(name)
        if request.method == "PUT":
            return self._put(request, there, what)
        found = what if what in there.manifests else there.tags.get(what, "")
        if request.method == "DELETE" and not self.deletes:
            return _error(405, "UNSUPPORTED")
        if found not in there.manifests:
            return _error(404, "MANIFEST_UNKNOWN")
        if request.method == "DELETE":
            del there.manifests[found]
            there.tags = {tag: one for tag, one in there.tags.items() if one != found}
            return Answer(202, b"")
        text, kind = there.manifests[found]
        return Answer(200, text, {"content-type": kind, "docker-content-digest": found})

    def _tags(self, _: Request, name: str, __: str) -> Answer:
        return _json(200, {"name": name, "tags": sorted(self.repository(name).tags)})

    def _put(self, request: Request, there: Repository, what: str) -> Answer:
        manifest = request.json
        named = [manifest["config"], *manifest["layers"]]
        if any(len(there.blobs.get(one["digest"], b"")) != one["size"] for one in named):
            return _error(400, "MANIFEST_BLOB_UNKNOWN")
        known = digest(request.body)
        if what.startswith("sha256:") and what != known:
            return _error(400, "DIGEST_INVALID")
        there.manifests[known] = (request.body, request.headers["content-type"])
        if not what.startswith("sha256:"):
            there.tags[what] = known
        return Answer(201, b"", {"docker-content-digest": known})


def digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def _error(status: int, code: str) -> Answer:
    return _json(status, {"errors": [{"code": code}]})


def _json(status: int, body: object) -> Answer:
    return Answer(status, json.dumps(body).encode(), {"content-type": "application/json"})


async def serve(file: Path) -> None:
    """Serve a registry, and write where it is."""
    async with RegistryServer() as server:
        text = f"export WORKER_FORGE_REGISTRY_URL={server.url}\n"
        await asyncio.to_thread(file.write_text, text, encoding="utf-8")
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1])))
