"""One HTTP request, by the standard library alone: a full client takes longer to import than most commands to run."""

import asyncio
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from ssl import SSLCertVerificationError
from threading import Thread
from urllib.error import HTTPError, URLError
from urllib.request import (
    HTTPHandler,
    HTTPRedirectHandler,
    HTTPSHandler,
    OpenerDirector,
    ProxyHandler,
    Request,
    build_opener,
)

CONNECT_SECONDS = 3.0
ANSWER_SECONDS = 15.0
"""How long nothing may come from the other side."""


class NoAnswer(Exception):
    """There was no answer; `late` says that the other side is there but did not answer in time.

    `untrusted` says what is wrong with its certificate.
    """

    def __init__(self, *, late: bool, untrusted: str = "") -> None:
        super().__init__("no answer")
        self.late = late
        self.untrusted = untrusted


@dataclass(frozen=True, slots=True)
class PlainReply:
    """An answer of any status, its body read whole."""

    status: int
    body: bytes


class _NoRedirects(HTTPRedirectHandler):
    """Takes a redirect for an answer: the key is for the address that the user has named."""

    def redirect_request(self, *_: object) -> None:
        """Follow nothing."""


class _Connection(HTTPConnection):
    """Gives up connecting sooner than waiting for an answer."""

    def connect(self) -> None:
        """Connect."""
        patience, self.timeout = self.timeout, CONNECT_SECONDS
        super().connect()
        self.sock.settimeout(patience)


class _SecureConnection(HTTPSConnection):
    """As `_Connection`, with TLS."""

    def connect(self) -> None:
        """Connect."""
        patience, self.timeout = self.timeout, CONNECT_SECONDS
        super().connect()
        self.sock.settimeout(patience)


class _Http(HTTPHandler):
    def http_open(self, req: Request) -> HTTPResponse:
        """Open a connection of ours."""
        return self.do_open(_Connection, req)


class _Https(HTTPSHandler):
    def https_open(self, req: Request) -> HTTPResponse:
        """Open a connection of ours."""
        return self.do_open(_SecureConnection, req)


def opener(*, direct: bool) -> OpenerDirector:
    """Return what opens requests; `direct` leaves out the proxies that the environment names."""
    return build_opener(_NoRedirects, _Http, _Https, *((ProxyHandler({}),) if direct else ()))


async def answer_to(opened_by: OpenerDirector, request: Request, seconds: float = ANSWER_SECONDS) -> PlainReply:
    """Send a request and return the answer; raise `NoAnswer`, also when nothing comes for so many seconds.

    A thread that nobody waits for does it, so that a command can be stopped at any moment.
    """
    loop = asyncio.get_running_loop()
    answered: asyncio.Future[PlainReply] = loop.create_future()

    def settle(reply: PlainReply | None, failure: Exception | None) -> None:
        if answered.cancelled():
            return
        if reply is not None:
            answered.set_result(reply)
        else:
            answered.set_exception(failure or NoAnswer(late=False))

    def work() -> None:
        reply, failure = None, None
        try:
            reply = _answer(opened_by, request, seconds)
        except Exception as error:  # noqa: BLE001 - nobody but the waiting task can see it
            failure = error
        if not loop.is_closed():
            loop.call_soon_threadsafe(settle, reply, failure)

    Thread(target=work, name="flowc-request", daemon=True).start()
    return await answered


def _answer(opened_by: OpenerDirector, request: Request, seconds: float) -> PlainReply:
    try:
        try:
            with opened_by.open(request, timeout=seconds) as response:
                return PlainReply(response.status, response.read())
        except HTTPError as refusal:
            with refusal:
                return PlainReply(refusal.code, refusal.read())
    except TimeoutError as error:
        raise NoAnswer(late=True) from error
    except URLError as error:
        # An address that takes no connection in time is as good as none: nobody is there.
        untrusted = error.reason.verify_message if isinstance(error.reason, SSLCertVerificationError) else ""
        raise NoAnswer(late=False, untrusted=untrusted) from error
    except (OSError, HTTPException, ValueError) as error:
        raise NoAnswer(late=False) from error
