"""A small Vault-like server: the documented wire format of key-value secrets, of dynamic ones, and of leases."""

import json
from typing import Any

from tests.support.loopback import Answer, Loopback, Request

TOKEN = "hvs.the-token-of-the-tests"


class Vault:
    """Answers as Vault does, to whoever has its token; `leases` are those that are renewed."""

    def __init__(self, loopback: Loopback) -> None:
        self.url = loopback.url
        self.token = TOKEN
        self.kept: dict[str, tuple[int, dict[str, Any]]] = {}
        self.lease_seconds = 90
        self.renewable = True
        self.leases: list[str] = []
        self.asked: list[str] = []
        self.sealed = False
        self._made = 0
        loopback.answer = self.answer

    async def answer(self, request: Request) -> Answer:
        """Answer one request."""
        self.asked.append(f"{request.method} {request.path}")
        if self.sealed:
            return _errors(503, "Vault is sealed")
        if request.headers.get("x-vault-token") != self.token:
            return _errors(403, "permission denied")
        path = request.path.removeprefix("/v1/")
        if path == "sys/leases/renew":
            return self._renewed(request.json["lease_id"])
        if path.startswith("database/creds/"):
            return self._dynamic(path)
        if path not in self.kept:
            return Answer(404, b'{"errors": []}')
        version, data = self.kept[path]
        metadata = {"version": version, "created_time": "2026-03-01T12:00:00Z", "destroyed": False}
        return _document(lease_id="", renewable=False, lease_duration=0, data={"data": data, "metadata": metadata})

    def _dynamic(self, path: str) -> Answer:
        self._made += 1
        lease_id = f"{path}/{self._made}"
        self.leases.append(lease_id)
        data = {"username": f"v-{self._made}", "password": f"password-{self._made}"}
        return _document(lease_id=lease_id, renewable=self.renewable, lease_duration=self.lease_seconds, data=data)

    def _renewed(self, lease_id: str) -> Answer:
        if lease_id not in self.leases:
            return _errors(400, "lease not found")
        return _document(lease_id=lease_id, renewable=True, lease_duration=self.lease_seconds, data=None)


def _document(**fields: Any) -> Answer:
    more = {"request_id": "1b2c", "wrap_info": None, "warnings": None, "auth": None}
    return Answer(200, json.dumps({**more, **fields}).encode())


def _errors(status: int, *errors: str) -> Answer:
    return Answer(status, json.dumps({"errors": errors}).encode())
