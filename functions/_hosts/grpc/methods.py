"""A gRPC service as a table of methods: what each asks of the API, and how its answer becomes a message."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from http import HTTPStatus
from importlib.resources import files
from typing import Any, NoReturn, TypeAlias
from urllib.parse import quote

import grpc
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.json_format import ParseDict
from google.protobuf.message import DecodeError
from google.protobuf.message_factory import GetMessageClass

from functions._hosts.grpc.calls import Caller, RefusedCall, caller_of
from functions._observability.http_metrics import AsgiApp

Asked: TypeAlias = Any
"""A message of a request; its class is made from `services.binpb` when the process starts."""

MAX_STREAMS = 64
"""Streams at once that have been told something, a quarter of them of one caller."""

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"
Method = Callable[[Asked, Caller], Awaitable[Mapping[str, Any]]]
Stream = Callable[[Asked, Caller], AsyncIterator[Mapping[str, Any]]]
"""A method returns, or yields, messages as dictionaries; names that a message does not have are left out."""


def invalid(detail: str) -> RefusedCall:
    """Return the refusal of a request that no route is asked for."""
    return _refusal(HTTPStatus.UNPROCESSABLE_ENTITY, "invalid_data", detail)


def absent(detail: str) -> RefusedCall:
    """Return the refusal of a request for something that is not there."""
    return _refusal(HTTPStatus.NOT_FOUND, "not_found", detail)


def segment(name: str, value: str) -> str:
    """Return an id as one segment of a path; raise `RefusedCall` for none, and for one that would be several."""
    if not value:
        raise invalid(f"{name}: is missing")
    if "/" in value:
        raise absent(f"{name}: nothing has an id with a slash")
    return quote(value, safe="")


def millis(moment: str | None) -> int | None:
    """Return a moment as epoch milliseconds."""
    return None if moment is None else round(datetime.fromisoformat(moment).timestamp() * 1000)


def _refusal(status: HTTPStatus, code: str, detail: str) -> RefusedCall:
    problem = {"title": status.phrase, "status": status, "detail": detail, "code": code}
    return RefusedCall(status, json.dumps(problem).encode(), None)


@cache
def pool() -> DescriptorPool:
    """Return the descriptors of `events/proto`."""
    made = DescriptorPool()
    compiled = files("functions._hosts.grpc").joinpath("services.binpb").read_bytes()
    for file in FileDescriptorSet.FromString(compiled).file:
        made.Add(file)
    return made


@dataclass(frozen=True, slots=True)
class Door:
    """The API as gRPC serves it: a message has `message_seconds` to arrive.

    `streams` counts those that have been told something: they stay counted while they do not read.
    """

    app: AsgiApp
    message_seconds: float
    streams: Counter[str] = field(default_factory=Counter)

    @contextmanager
    def told(self, caller: str) -> Iterator[None]:
        """Count a stream for as long as the context is open; raise `RefusedCall` where it is one too many."""
        if self.streams.total() >= MAX_STREAMS or self.streams[caller] >= MAX_STREAMS // 4:
            text = "too many follow the registry; try again later"
            raise _refusal(HTTPStatus.SERVICE_UNAVAILABLE, "overloaded", text)
        self.streams[caller] += 1
        try:
            yield
        finally:
            self.streams[caller] -= 1
            if not self.streams[caller]:
                del self.streams[caller]


def service(name: str, methods: Mapping[str, Method | Stream], door: Door) -> grpc.GenericRpcHandler:
    """Return a service of `events/proto` by its full name; each of its methods has to be in `methods`."""
    descriptor = pool().FindServiceByName(name)
    handlers = {each.name: _handler(each, methods[each.name], door) for each in descriptor.methods}
    return grpc.method_handlers_generic_handler(name, handlers)


def _handler(descriptor: MethodDescriptor, method: Any, door: Door) -> "grpc.RpcMethodHandler[Any, Any]":
    """Return the handler of a method: it takes a stream of messages, so that one that does not come is given up."""
    asked_of, answer_of = GetMessageClass(descriptor.input_type), GetMessageClass(descriptor.output_type)

    async def once(messages: AsyncIterator[bytes], context: Context) -> Any:
        async with _refusals(context):
            asked = await _asked(messages, asked_of, door.message_seconds)
            answer = await method(asked, caller_of(door.app, context))
        return await _message(answer, answer_of())

    async def many(messages: AsyncIterator[bytes], context: Context) -> None:
        async with _refusals(context):
            caller = caller_of(door.app, context)
            answers = method(await _asked(messages, asked_of, door.message_seconds), caller)
            answer = await anext(answers, None)
            with door.told(caller.proof):
                while answer is not None:
                    await context.write(await _message(answer, answer_of()))
                    answer = await anext(answers, None)

    write = answer_of.SerializeToString
    if descriptor.server_streaming:
        return grpc.stream_stream_rpc_method_handler(many, response_serializer=write)
    return grpc.stream_unary_rpc_method_handler(once, response_serializer=write)


async def _asked(messages: AsyncIterator[bytes], form: Any, seconds: float) -> Asked:
    """Return the one message of a request; raise `RefusedCall`."""
    try:
        async with asyncio.timeout(seconds):
            return form.FromString(await anext(messages, b""))
    except TimeoutError:
        text = f"the message has to arrive within {seconds:g} s"
        raise _refusal(HTTPStatus.REQUEST_TIMEOUT, "request_timeout", text) from None
    except DecodeError:
        raise invalid("the message is not one of this call") from None


@asynccontextmanager
async def _refusals(context: Context) -> AsyncIterator[None]:
    """Answer refusals by the status of gRPC; `Context.abort` raises."""
    try:
        yield
    except RefusedCall as refused:
        await _abort(context, refused)


async def _message(answer: Mapping[str, Any], message: Any) -> Any:
    """Fill a message, in a thread: a page of large tickets takes time, and other requests go on meanwhile."""
    return await asyncio.to_thread(ParseDict, dict(answer), message, ignore_unknown_fields=True)


async def _abort(context: Context, refused: RefusedCall) -> NoReturn:
    await context.abort(refused.code, refused.detail, tuple(refused.metadata))
    raise refused  # never reached: abort raises; the type checker does not know
