"""The routes that every step of a flow goes through: answered without the routing and the models of the framework.

They are routes of the framework all the same: for its document, and for a request that is in any way unusual.
"""

from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute

from functions.api.access import Asgi, Message, Receive, Send, principal_of
from functions.api.problems import answer_to
from functions.api.questions import known_parameters
from functions.api.roles import allowed, check


class HotRoute(APIRoute):
    """A documented route whose endpoint answers the request by itself: nothing is injected or serialised."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return the endpoint, behind the check of its parameters."""

        async def answer(request: Request) -> Response:
            await allowed(request)
            await known_parameters(request)
            response: Response = await self.endpoint(request)
            return response

        return answer


class HotRoutes:
    """ASGI middleware that calls the endpoints of `routes`, and passes every other request on.

    It answers as the framework would: endpoint, path and refusals are the same. `scope` gets `route` and `path_params`.
    """

    def __init__(self, app: Asgi, routes: Sequence[HotRoute]) -> None:
        """Take the routes, the most frequent first; all take POST, and no two match one path."""
        self._app = app
        self._routes = routes

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer one request, or pass it on."""
        if scope["type"] == "http" and scope["method"] == "POST" and not scope["query_string"]:
            path = scope["path"]
            for route in self._routes if not scope.get("root_path") else ():
                found = route.path_regex.match(path)
                if found is not None:
                    scope["route"], scope["path_params"] = route, found.groupdict()
                    await _answer(route, Request(scope, receive), send)
                    return
        await self._app(scope, receive, send)


async def _answer(route: HotRoute, request: Request, send: Send) -> None:
    try:
        principal = principal_of(request)
        if principal is not None:
            check(principal, request)
        answer: Response = await route.endpoint(request)
    except Exception as error:
        refusal = answer_to(error)
        if refusal is None:
            raise
        answer = refusal
    await answer(request.scope, request.receive, send)
