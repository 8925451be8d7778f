"""Secrets of this machine: variables of the environment, and files that their owner alone may read."""

import os
import stat
from collections.abc import Mapping
from pathlib import Path

from functions._core.errors import Unavailable
from functions._core.secrets import Secret, unknown, version_of

MAX_BYTES = 64 * 1024


class EnvironmentSecrets:
    """Variables of the environment; implements `ports.Secrets`."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment

    async def get(self, name: str) -> Secret:
        """Return a variable; raise `Rejected` when it is not set."""
        value = self._environment.get(name, "")
        if not value:
            raise unknown(f"the variable {name[:100]} is not set")
        return Secret(value, version_of(value))


class FileSecrets:
    """Files, read again when they have changed; implements `ports.Secrets`."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[tuple[int, int, int], Secret]] = {}

    async def get(self, name: str) -> Secret:
        """Return the text of a file without the line end behind it.

        Raises `Rejected` for a file that is not there, is empty or too large, or that others may read too.
        """
        try:
            with Path(name).open("rb") as file:  # noqa: ASYNC230 a small file, at the start of a process
                state = os.fstat(file.fileno())
                if not stat.S_ISREG(state.st_mode):
                    raise unknown(f"{name} is no file")
                if stat.S_IMODE(state.st_mode) & 0o077:
                    raise unknown(f"others may read {name}: chmod 600 {name}")
                seen = state.st_ino, state.st_mtime_ns, state.st_size
                known = self._known.get(name)
                if known is not None and known[0] == seen:
                    return known[1]
                text = file.read(MAX_BYTES + 1)
        except FileNotFoundError:
            raise unknown(f"there is no file {name}") from None
        except OSError as error:
            raise Unavailable(f"{name} cannot be read: {error.strerror}") from error
        found = _as_secret(name, text)
        self._known[name] = seen, found
        return found


def _as_secret(name: str, text: bytes) -> Secret:
    try:
        value = text.decode().removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError:
        raise unknown(f"{name} holds no text") from None
    if not value or len(text) > MAX_BYTES:
        raise unknown(f"{name} is empty, or larger than {MAX_BYTES} bytes")
    return Secret(value, version_of(value))
