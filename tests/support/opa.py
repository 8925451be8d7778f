"""A server with the part of OPA's REST API that is used here, over real HTTP: policies in Rego, and their decisions.

It is written after the description of that API: `PUT /v1/policies/<id>` takes Rego, `POST /v1/data/<path>` an input and
answers `{"result": …}`, or `{}` where nothing is defined. It is not OPA itself: Rego is run by `regopy`.
"""

import asyncio
import json
from typing import Any

from regopy import Interpreter

from tests.support.loopback import Answer, Loopback, Request


class OpaContractServer(Loopback):
    """Decides by the policies that were put into it; `down` answers 503, `asked` keeps inputs."""

    def reset(self) -> None:
        """Forget everything."""
        super().reset()
        self.answer = self._decide
        self.policies: dict[str, str] = {}
        self.down = False

    @property
    def asked(self) -> list[dict[str, Any]]:
        """The inputs of all questions so far."""
        return [one.json["input"] for one in self.requests if one.path.startswith("/v1/data/")]

    async def _decide(self, request: Request) -> Answer:
        if self.down:
            return Answer(503, b'{"code": "internal_error"}')
        if request.method == "PUT" and request.path.startswith("/v1/policies/"):
            self.policies[request.path.removeprefix("/v1/policies/")] = request.body.decode()
            return Answer(200, b"{}")
        if request.method == "POST" and request.path.startswith("/v1/data/"):
            path = request.path.removeprefix("/v1/data/").replace("/", ".")
            return Answer(
                200, json.dumps(await asyncio.to_thread(self._evaluated, path, request.json["input"])).encode()
            )
        return Answer(404, b'{"code": "resource_not_found"}')

    def _evaluated(self, path: str, asked: Any) -> dict[str, Any]:
        rego = Interpreter()
        for name, text in self.policies.items():
            rego.add_module(name, text)
        rego.set_input(asked)
        found = rego.query(f"data.{path}")
        if not found.ok():
            raise ValueError(str(found))
        expressions = found.results[0].expressions
        return {"result": expressions[0]} if expressions else {}
