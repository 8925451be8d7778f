"""A gRPC service as a table of methods: what each asks of the API, and how its answer becomes a message."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
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


def service(name: str, methods: Mapping[str, Method | Stream], app: AsgiApp) -> grpc.GenericRpcHandler:
    """Return a service of `events/proto` by its full name; each of its methods has to be in `methods`."""
    descriptor = pool().FindServiceByName(name)
    handlers = {each.name: _handler(each, methods[each.name], app) for each in descriptor.methods}
    return grpc.method_handlers_generic_handler(name, handlers)


def _handler(descriptor: MethodDescriptor, method: Any, app: AsgiApp) -> "grpc.RpcMethodHandler[Any, Any]":
    asked_of, answer_of = GetMessageClass(descriptor.input_type), GetMessageClass(descriptor.output_type)

    def read(body: bytes) -> Asked:
        try:
            return asked_of.FromString(body)
        except DecodeError:
            raise invalid("the message is not one of this call") from None

    async def once(body: bytes, context: Context) -> Any:
        try:
            answer = await method(read(body), caller_of(app, context))
        except RefusedCall as refused:
            await _abort(context, refused)
        return await _message(answer, answer_of())

    async def many(body: bytes, context: Context) -> AsyncIterator[Any]:
        try:
            async for answer in method(read(body), caller_of(app, context)):
                yield await _message(answer, answer_of())
        except RefusedCall as refused:
            await _abort(context, refused)

    write = answer_of.SerializeToString
    if descriptor.server_streaming:
        return grpc.unary_stream_rpc_method_handler(many, response_serializer=write)
    return grpc.unary_unary_rpc_method_handler(once, response_serializer=write)


async def _message(answer: Mapping[str, Any], message: Any) -> Any:
    """Fill a message, in a thread: a page of large tickets takes time, and other requests go on meanwhile."""
    return await asyncio.to_thread(ParseDict, dict(answer), message, ignore_unknown_fields=True)


async def _abort(context: Context, refused: RefusedCall) -> NoReturn:
    await context.abort(refused.code, refused.detail, tuple(refused.metadata))
    raise refused  # never reached: abort raises; the type checker does not know
