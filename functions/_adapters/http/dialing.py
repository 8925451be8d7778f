"""New connections of the HTTP client: a name is resolved, its addresses are checked, and those very ones are called."""

import asyncio
import socket
import ssl
from collections.abc import Callable
from functools import cached_property

from functions._adapters.http.addresses import Networks, Target, refuse_address
from functions._adapters.http.connection import Connection

HEAD_START_SECONDS = 0.25
"""So long after one address of a name the next one is tried beside it (RFC 8305)."""

ADDRESSES_TRIED = 8
"""Addresses of one name at most."""

LOOKUP_SECONDS = 10.0
"""How long the addresses of a name are kept, so that a burst of connections is one lookup."""


class Dialer:
    """Opens connections to addresses within `networks`; a `ca_file` has the only certificates that are trusted."""

    def __init__(self, networks: Networks, ca_file: str | None = None) -> None:
        self._networks, self._ca_file = networks, ca_file
        self._lookups: dict[tuple[str, int], asyncio.Task[list[str]]] = {}

    async def connect(self, target: Target, lost: Callable[[Connection], None]) -> Connection:
        """Return a new connection, which calls `lost` when it is closed.

        Raises `OSError` when there is none, and `Rejected` when the name leads to an address that may not be called.
        """
        addresses = await self._addresses(target.host, target.port)
        attempts: set[asyncio.Task[Connection]] = set()
        try:
            while True:
                if addresses:
                    attempts.add(asyncio.create_task(self._open(addresses.pop(0), target, lost)))
                head_start = HEAD_START_SECONDS if addresses else None
                done, _ = await asyncio.wait(attempts, timeout=head_start, return_when=asyncio.FIRST_COMPLETED)
                for attempt in done:
                    attempts.remove(attempt)
                    error = attempt.exception()
                    if error is None:
                        return attempt.result()
                    if not (addresses or attempts):
                        raise error
        finally:
            for attempt in attempts:
                attempt.cancel()
                attempt.add_done_callback(_close)

    def close(self) -> None:
        """Give up the lookups that are under way."""
        for lookup in self._lookups.values():
            lookup.cancel()

    @cached_property
    def _tls(self) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=self._ca_file)
        context.set_alpn_protocols(["http/1.1"])
        return context

    async def _open(self, address: str, target: Target, lost: Callable[[Connection], None]) -> Connection:
        _, connection = await asyncio.get_running_loop().create_connection(
            lambda: Connection(lost),
            address,
            target.port,
            ssl=self._tls if target.secure else None,
            server_hostname=target.host.rstrip(".") if target.secure else None,
        )
        return connection

    async def _addresses(self, host: str, port: int) -> list[str]:
        """Return where `host` leads; calls at the same time share one lookup."""
        key = host, port
        lookup = self._lookups.get(key)
        if lookup is None:
            lookup = self._lookups[key] = asyncio.create_task(self._look_up(host, port))
            lookup.add_done_callback(lambda done: self._keep(key, done))
        return list(await asyncio.shield(lookup))

    async def _look_up(self, host: str, port: int) -> list[str]:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
        addresses = list(dict.fromkeys(str(address[0]) for *_, address in found))
        for address in addresses:
            refuse_address(address, self._networks)
        return addresses[:ADDRESSES_TRIED]

    def _keep(self, key: tuple[str, int], lookup: asyncio.Task[list[str]]) -> None:
        """Keep what was found for a while, and a failure not at all."""
        if lookup.cancelled() or lookup.exception() is not None:
            del self._lookups[key]
        else:
            asyncio.get_running_loop().call_later(LOOKUP_SECONDS, self._lookups.pop, key, None)


def _close(attempt: asyncio.Task[Connection]) -> None:
    """Close the connection of an attempt that another one has overtaken."""
    if not attempt.cancelled() and attempt.exception() is None:
        attempt.result().abort()
