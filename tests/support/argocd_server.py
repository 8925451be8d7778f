"""A contract server of Argo CD, after the API of its version 3 (`/swagger-ui`, `pkg/apiclient/application`).

It knows GET, PATCH (merge), sync and the end of an operation of one application, with the words, statuses and codes of
the API: 401 without the token, 403 for what the token may not do, 404, and 400 with code 9 while an operation goes on.
What Argo CD does meanwhile, a test moves on: `finish` ends the operation, `reconcile` tells how the application is. One
that is `automated` begins an operation of its own when its source is changed.
Times are seconds that the test does not wait for.
"""

import json
from collections import deque
from datetime import UTC, datetime, timedelta
from typing import Any

from functions._core.records.values import format_time
from tests.support.loopback import Answer, Loopback, Request

TOKEN = "argo-token"
HERE = ["api", "v1", "applications", "shop"]


class ArgocdServer(Loopback):
    """Has one application, `shop`; `faults` are answered first, and `stale` looks come from before the last change."""

    def reset(self) -> None:
        super().reset()
        self.answer = self._answer
        self.faults: deque[Answer] = deque()
        self.syncs: list[Any] = []
        self.patches: list[Any] = []
        self.stale = 0
        self.begun, self.seconds = datetime.now(UTC), 0
        self.automated = False
        self.heads = {"main": "c0ffee0", "v2": "c0ffee2", "v3": "c0ffee3"}
        self.refuses: set[str] = set()
        self.ended: list[str] = []
        source = {"repoURL": "https://git.test/shop", "path": "overlays/prod", "targetRevision": "main"}
        deployed = {"id": 4, "revision": "c0ffee0", "deployedAt": self.now, "source": dict(source)}
        self.app: dict[str, Any] = {
            "metadata": {"name": "shop", "namespace": "argocd"},
            "spec": {"project": "default", "source": source, "destination": {"namespace": "prod"}},
            "status": {
                "sync": {"status": "Synced", "revision": "c0ffee0"},
                "health": {"status": "Healthy"},
                "history": [deployed],
                "reconciledAt": self.now,
            },
        }
        self._before = json.dumps(self.app)

    @property
    def now(self) -> str:
        return format_time(self.begun + timedelta(seconds=self.seconds))[:19] + "Z"

    @property
    def running(self) -> bool:
        return "operation" in self.app

    def finish(self, phase: str = "Succeeded", message: str = "successfully synced", **result: Any) -> None:
        """End the operation; a success is an entry of the history."""
        operation, self.seconds = self.app.pop("operation"), self.seconds + 1
        source = self.app["spec"]["source"]
        revision = self.heads.get(source["targetRevision"], source["targetRevision"])
        self.app["status"]["operationState"] = {
            "phase": phase,
            "message": message,
            "operation": operation,
            "finishedAt": self.now,
            "syncResult": {"revision": revision, **result},
        }
        if phase == "Succeeded":
            entries = self.app["status"]["history"]
            entries.append(
                {"id": entries[-1]["id"] + 1 if entries else 0, "revision": revision, "source": dict(source)}
            )

    def reconcile(self, health: str = "Healthy", sync: str = "Synced", message: str = "") -> None:
        """Tell how the application is now."""
        self.seconds += 1
        self.app["status"] |= {
            "sync": {"status": sync},
            "health": {"status": health, "message": message},
            "reconciledAt": self.now,
        }

    def begin(self, **infos: str) -> None:
        """Begin an operation of somebody else."""
        self.app["operation"] = {"sync": {}, "info": [{"name": n, "value": v} for n, v in infos.items()]}

    async def _answer(self, request: Request) -> Answer:
        if self.faults:
            return self.faults.popleft()
        if request.headers.get("authorization") != f"Bearer {TOKEN}":
            return _refused(401, 16, "no session information")
        parts = request.path.strip("/").split("/")
        if parts[-1] in self.refuses or request.method in self.refuses:
            return _refused(403, 7, f"permission denied: {TOKEN}")
        if parts == ["api", "v1", "session", "userinfo"]:
            return _json({"loggedIn": True, "username": "flowc"})
        if parts[:4] != HERE:
            return _refused(404, 5, f'applications "{parts[-1]}" not found')
        return self._of_application(request, parts[4:])

    def _of_application(self, request: Request, rest: list[str]) -> Answer:
        match request.method, rest:
            case "GET", []:
                return self._look()
            case "PATCH", []:
                return self._patch(request.json)
            case "POST", ["sync"]:
                return self._sync(request.json)
            case "DELETE", ["operation"]:
                return self._terminate()
        return _refused(404, 12, "Not Implemented")

    def _look(self) -> Answer:
        if self.stale:
            self.stale -= 1
            return Answer(200, self._before.encode())
        return _json(self.app)

    def _patch(self, body: Any) -> Answer:
        assert body["patchType"] == "merge"
        patch = json.loads(body["patch"])
        self.patches.append(patch)
        self._before = json.dumps(self.app)
        _merge(self.app, patch)
        if self.automated and not self.running:
            self.begin()
        return _json(self.app)

    def _sync(self, body: Any) -> Answer:
        if self.running:
            return _refused(400, 9, "another operation is already in progress")
        self.syncs.append(body)
        self._before = json.dumps(self.app)
        self.app["operation"] = {"sync": {"prune": body.get("prune", False)}, "info": body["infos"]}
        return _json(self.app)

    def _terminate(self) -> Answer:
        if not self.running:
            return _refused(400, 3, "Unable to terminate operation. No operation is in progress")
        self.ended.append("shop")
        self.finish("Failed", "Operation terminated")
        return _json({})


def _merge(target: dict[str, Any], patch: dict[str, Any]) -> None:
    """RFC 7386, in place."""
    for name, value in patch.items():
        if value is None:
            target.pop(name, None)
        elif isinstance(value, dict):
            if not isinstance(target.get(name), dict):
                target[name] = {}
            _merge(target[name], value)
        else:
            target[name] = value


def _json(body: object) -> Answer:
    return Answer(200, json.dumps(body).encode(), {"content-type": "application/json"})


def _refused(status: int, code: int, message: str) -> Answer:
    said = {"error": message, "code": code, "message": message}
    return Answer(status, json.dumps(said).encode(), {"content-type": "application/json"})
