"""A language model over HTTP, as the API reference of OpenAI describes chat completions.

https://platform.openai.com/docs/api-reference/chat: POST /v1/chat/completions with `model` and `messages`; the answer
has `choices[0].message.content` and `finish_reason`, an error is `{"error": {"message", "type", "code"}}`.
"""

import json
from collections import deque
from typing import Any

from tests.support.loopback import Answer, Loopback, Request

TOKEN = "sk-test"
MODEL = "small-1"


class ModelApi(Loopback):
    """Answers with `said`; `faults` come first. Callers without the token are refused."""

    def reset(self) -> None:
        super().reset()
        self.answer = self._answer
        self.said: str = json.dumps({"files": {}})
        self.finish_reason = "stop"
        self.faults: deque[Answer] = deque()

    @property
    def variables(self) -> dict[str, str]:
        """The variables of a worker that uses it."""
        about = {"URL": self.url, "TOKEN": TOKEN, "MODEL": MODEL}
        return {f"WORKER_FORGE_LLM_{name}": value for name, value in about.items()}

    def says(self, **files: str) -> None:
        """Have it answer with files; in their names `__` stands for `/` and `_dot_` for `.`."""
        named = {name.replace("__", "/").replace("_dot_", "."): text for name, text in files.items()}
        self.said = json.dumps({"files": named})

    async def _answer(self, request: Request) -> Answer:
        if request.headers.get("authorization") != f"Bearer {TOKEN}":
            return error(401, "invalid_api_key")
        if (request.method, request.path) != ("POST", "/v1/chat/completions"):
            return error(404, "unknown_url")
        if self.faults:
            return self.faults.popleft()
        asked = request.json
        if asked["model"] != MODEL or [one["role"] for one in asked["messages"]] != ["system", "user"]:
            return error(400, "invalid_request_error")
        message = {"role": "assistant", "content": self.said}
        choice = {"index": 0, "message": message, "finish_reason": self.finish_reason}
        return _json(200, {"id": "chatcmpl-1", "object": "chat.completion", "model": MODEL, "choices": [choice]})


def error(status: int, code: str, **headers: str) -> Answer:
    """Return an error as the service has it."""
    return _json(status, {"error": {"message": f"it is {code}, {TOKEN}", "type": code, "code": code}}, **headers)


def _json(status: int, body: Any, **headers: str) -> Answer:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Answer(status, json.dumps(body).encode(), {"content-type": "application/json", **named})
