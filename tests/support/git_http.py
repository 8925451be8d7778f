"""Repositories of git over HTTP, by `git http-backend`: the smart protocol, as git documents it (gitprotocol-http)."""

import asyncio
import os
from pathlib import Path

from tests.support.loopback import Answer, Loopback, Request


class GitServer(Loopback):
    """Serves the repositories below a folder; with `token` to those alone who bring it."""

    def __init__(self, root: Path) -> None:
        super().__init__()
        self._root = root

    def reset(self) -> None:
        super().reset()
        self.answer = self._answer
        self.token = ""
        self.elsewhere = ""
        """Where requests are redirected to; empty for nowhere."""

    async def _answer(self, request: Request) -> Answer:
        if self.elsewhere:
            return Answer(301, b"", {"location": f"{self.elsewhere}{request.path}"})
        if self.token and request.headers.get("authorization") != f"Bearer {self.token}":
            return Answer(401, b"", {"www-authenticate": "Bearer"})
        about = {
            "PATH": os.environ["PATH"],
            "GIT_PROJECT_ROOT": str(self._root),
            "GIT_HTTP_EXPORT_ALL": "1",
            "GIT_CONFIG_GLOBAL": "/dev/null",
            "REQUEST_METHOD": request.method,
            "PATH_INFO": request.path,
            "QUERY_STRING": "&".join(f"{name}={value}" for name, value in request.query.items()),
            "CONTENT_TYPE": request.headers.get("content-type", ""),
            "HTTP_CONTENT_ENCODING": request.headers.get("content-encoding", ""),
            "GIT_PROTOCOL": request.headers.get("git-protocol", ""),
        }
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec("git", "http-backend", stdin=pipe, stdout=pipe, env=about)
        said, _ = await process.communicate(request.body)
        head, _, body = said.partition(b"\r\n\r\n")
        lines = (line.partition(": ") for line in head.decode().splitlines())
        headers = {name.lower(): value for name, _, value in lines}
        return Answer(int(headers.pop("status", "200").split()[0]), body, headers)
