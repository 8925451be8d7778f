"""Which addresses may be called, and how they are recognised in any notation.

Link-local and cloud metadata addresses are never called. Of the others the caller's `Networks` count: workers name
their endpoints themselves, so where those may lead is for the platform's owner to say.
"""

import re
import socket
from base64 import b64encode
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Literal, NamedTuple
from urllib.parse import SplitResult, quote, unquote, urlsplit

from functions._core.decision.vocabulary import UNPRINTABLE
from functions._core.errors import Rejected

Network = Literal["loopback", "private", "public"]
Networks = frozenset[Network]

EVERY_NETWORK: Networks = frozenset({"loopback", "private", "public"})

FORBIDDEN_NAMES = frozenset(
    {"instance-data", "instance-data.ec2.internal", "metadata", "metadata.goog", "metadata.google.internal"}
)
FORBIDDEN_NETWORKS = tuple(
    ip_network(network)
    for network in (
        "169.254.0.0/16",  # link-local, with the metadata services of AWS, Azure, Google and most others
        "fe80::/10",  # link-local
        "fd00:ec2::/32",  # AWS
        "fd20:ce::254/128",  # Google
        "100.100.100.200/32",  # Alibaba
        "168.63.129.16/32",  # Azure
        "192.0.0.192/32",  # Oracle
    )
)
EMBEDDING = tuple(ip_network(prefix) for prefix in ("64:ff9b::/96", "::/96", "::ffff:0:0:0/96"))
"""Prefixes before an IPv4 address: NAT64, the former IPv4-compatible addresses, and those of stateless translation."""

ISATAP = frozenset({b"\x00\x00\x5e\xfe", b"\x02\x00\x5e\xfe"})
"""The ninth to twelfth octet of an address that a tunnel makes of the IPv4 address behind them (RFC 5214)."""

LOCAL_NAT64 = ip_network("64:ff9b:1::/48")
"""Translators of a network have their prefixes here (RFC 8215). Nobody else knows how long these are."""

PORTS = {"http": 80, "https": 443}
"""The port of each scheme where a URL names none."""

PATH_SAFE = "/%:@!$&'()*+,;="
QUERY_SAFE = f"{PATH_SAFE}?"
"""Characters of a URL that go onto the request line as they are, beside letters, digits and `-._~`."""

_HOST = re.compile(r"(?:[a-z0-9_-]{1,63}\.)*[a-z0-9_-]{1,63}\.?")

STARTS = (6, 7, 8, 11)
"""Octets, the always empty ninth left out, at which a prefix of 48, 56, 64 or 96 bits has the IPv4 address."""


class Target(NamedTuple):
    """Where a request goes, taken from a URL."""

    secure: bool
    """Whether it is https."""
    host: str
    """A name or an address, in ASCII and lower case; an IPv6 address without brackets."""
    port: int
    path: str
    """Path and query as the request line has them."""
    authority: str
    """Host and port as the header `host` has them."""
    authorization: str
    """The header that name and password in the URL stand for; empty without them."""

    @property
    def origin(self) -> tuple[bool, str, int]:
        """All that a connection depends on."""
        return self[:3]


@lru_cache(maxsize=1024)
def checked_url(url: str, networks: Networks) -> Target:
    """Return `url` taken apart.

    Raises `Rejected` with status 400 for what is no HTTP address and 403 for one that may not be called. A name
    that is not resolved here is checked by `refuse_address` when it is.
    """
    try:
        parts = urlsplit(url)
        host, port = _ascii(parts.hostname or ""), parts.port
        path = quote(parts.path or "/", safe=PATH_SAFE) + (
            f"?{quote(parts.query, safe=QUERY_SAFE)}" if parts.query else ""
        )
        authorization = _authorization(parts)
    except ValueError as error:
        raise _no_address(url) from error
    if parts.scheme not in PORTS or not host or UNPRINTABLE.search(url):
        raise _no_address(url)
    refuse_address(host, networks)
    if not _HOST.fullmatch(host) and not _is_ipv6(host):
        raise _no_address(url)
    shown = f"[{host}]" if ":" in host else host
    authority = shown if port is None else f"{shown}:{port}"
    return Target(parts.scheme == "https", host, port or PORTS[parts.scheme], path, authority, authorization)


def refuse_address(host: str, networks: Networks) -> None:
    """Raise `Rejected` with status 403 when `host`, a name or an address in any notation, may not be called."""
    name = host.lower().rstrip(".")
    if _is_forbidden(name):
        raise Rejected(
            f"link-local and cloud metadata addresses are never called: {host}",
            code="forbidden_address",
            status=403,
        )
    network = _network_of(name)
    if network is not None and network not in networks:
        allowed = ", ".join(sorted(networks)) or "none"
        raise Rejected(
            f"{host} is a {network} address; FLOWC_WORKER_NETWORKS allows {allowed}",
            code="forbidden_network",
            status=403,
        )


@lru_cache(maxsize=1024)
def _is_forbidden(name: str) -> bool:
    address = _address(name)
    if address is None:
        return name in FORBIDDEN_NAMES
    return any(
        reached.is_multicast or any(reached in network for network in FORBIDDEN_NETWORKS)
        for reached in (address, *_translated(address))
    )


@lru_cache(maxsize=1024)
def _network_of(name: str) -> Network | None:
    """Return where an address lies, or None for a name that has yet to be resolved."""
    address = _address(name)
    if address is None:
        return "loopback" if name == "localhost" or name.endswith(".localhost") else None
    if address.is_loopback or address.is_unspecified or any(reached.is_loopback for reached in _translated(address)):
        return "loopback"
    if address in LOCAL_NAT64:
        return "private"
    if address.is_global and not (isinstance(address, IPv6Address) and address.is_site_local):
        return "public"
    return "private"


def _address(name: str) -> IPv4Address | IPv6Address | None:
    """Return the address that `name` writes, an IPv4 one inside an IPv6 one unwrapped; None for a name."""
    try:
        address = ip_address(name)
    except ValueError:
        try:
            return IPv4Address(socket.inet_aton(name))  # systems also read "2852039166" and "0xa9.0xfea9fe"
        except (OSError, ValueError):
            return None
    if isinstance(address, IPv4Address):
        return address
    if address.is_loopback or address.is_unspecified or address.is_link_local:
        return address
    if any(address in prefix for prefix in EMBEDDING) or address.packed[8:12] in ISATAP:
        return IPv4Address(address.packed[-4:])
    behind_teredo = address.teredo[1] if address.teredo else None
    return address.ipv4_mapped or address.sixtofour or behind_teredo or address


def _translated(address: IPv4Address | IPv6Address) -> list[IPv4Address]:
    """Return every IPv4 address that a translator of this network may make of `address` (RFC 6052, 2.2)."""
    if address not in LOCAL_NAT64:
        return []
    octets = address.packed[:8] + address.packed[9:]
    return [IPv4Address(octets[start : start + 4]) for start in STARTS]


def _ascii(host: str) -> str:
    """Return a name as it is looked up; raise `ValueError` where no name is written so."""
    return host if host.isascii() else host.encode("idna").decode()


def _is_ipv6(host: str) -> bool:
    try:
        return isinstance(ip_address(host), IPv6Address)
    except ValueError:
        return False


def _authorization(url: SplitResult) -> str:
    if url.username is None:
        return ""
    said = unquote(f"{url.username}:{url.password or ''}")
    return f"Basic {b64encode(said.encode()).decode()}"


def _no_address(url: str) -> Rejected:
    return Rejected(f"not an HTTP address: {url[:200]!r}", code="bad_address")
