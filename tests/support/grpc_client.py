"""A client of the platform's gRPC services, generated from `events/proto` as everybody's would be."""

import importlib
import sys
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType
from typing import Any

import grpc.aio
import pytest

from tests.support.one_machine import OneMachine

PROTOS = Path(__file__).resolve().parents[2] / "events" / "proto"
NO_PROXY = (("grpc.enable_http_proxy", 0),)
MADE = TemporaryDirectory(prefix="flowc-grpc-")


@cache
def generated() -> Path:
    """Return a folder with the modules that the usual generator makes; it is there until the process ends."""
    from grpc_tools import protoc

    folder = Path(MADE.name)
    known = Path(protoc.__file__).parent / "_proto"
    names = sorted(path.name for path in PROTOS.glob("*.proto"))
    arguments = (f"-I{PROTOS}", f"-I{known}", f"--python_out={folder}", f"--grpc_python_out={folder}", *names)
    assert protoc.main(("protoc", *arguments)) == 0
    return folder


def modules(name: str) -> tuple[ModuleType, ModuleType]:
    """Return the messages and the stubs of `name.proto`."""
    folder = str(generated())
    if folder not in sys.path:
        sys.path.insert(0, folder)
    return importlib.import_module(f"{name}_pb2"), importlib.import_module(f"{name}_pb2_grpc")


def channel(port: int) -> grpc.aio.Channel:
    """Return a channel to a server on this machine."""
    return grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=NO_PROXY)


async def refusal(call: Any) -> grpc.aio.AioRpcError:
    """Return the error that a call ends with."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value


def port_of(world: OneMachine) -> int:
    """Return the port at which a platform takes gRPC."""
    assert world.running.grpc_port is not None
    return world.running.grpc_port
