"""TLS of a server: its certificate comes from two files, and a renewed one is used without a restart."""

import ssl
from pathlib import Path

from functions._core.errors import Unavailable
from functions._engine.settings import Settings
from functions._observability.logs import log

OLDEST = ssl.TLSVersion.TLSv1_2

Stamp = tuple[tuple[int, int, int], ...]
"""What changes when a file is replaced: its identity, its size and its time, for both files."""


class ServerCertificate:
    """The certificate of a server; `context` is for its listener.

    Each handshake looks whether the files have changed. New ones are taken once they belong together; until then, and
    when they cannot be read, the last good certificate stays in use.
    """

    def __init__(self, certificate: Path, key: Path) -> None:
        """Read both files, PEM, the certificate with its chain; raise `Unavailable`."""
        self._files = certificate, key
        try:
            self._stamp = self._stamped()
            self.context = self._current = self._read()
        except (OSError, ValueError) as error:
            raise Unavailable(f"TLS cannot begin with {certificate} and {key}: {_reason(error)}") from error
        self.context.sni_callback = self._offer

    def _offer(self, connection: ssl.SSLObject | ssl.SSLSocket, _name: str | None, _context: ssl.SSLContext) -> None:
        """Give a handshake the newest certificate; called for those that name no server, too."""
        try:
            stamp = self._stamped()
            if stamp != self._stamp:
                self._stamp = stamp  # files that cannot be used are read once, not at every handshake
                self._current = self._read()
                log.info("tls.reloaded", certificate=str(self._files[0]))
        except (OSError, ValueError) as error:
            log.error("tls.not_reloaded", certificate=str(self._files[0]), reason=_reason(error))
        connection.context = self._current

    def _stamped(self) -> Stamp:
        return tuple((found.st_ino, found.st_size, found.st_mtime_ns) for found in (f.stat() for f in self._files))

    def _read(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = OLDEST
        context.set_alpn_protocols(["http/1.1"])
        context.load_cert_chain(*self._files, password="")  # an encrypted key is refused: nobody is there to ask
        return context


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)


def server_context(settings: Settings) -> ssl.SSLContext | None:
    """Return what a listener needs for TLS, None where it is off; raise `Unavailable`."""
    if settings.tls_cert is None or settings.tls_key is None:
        return None
    return ServerCertificate(settings.tls_cert, settings.tls_key).context
