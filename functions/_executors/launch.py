"""Becomes another program after it has bound itself: to its parent's life, to limits, to another user.

    python -I -S -c <this text> <JSON> PROGRAM ARGUMENT…

A program of its own, of standard library alone, as nothing may run between a fork and a program in a process that has
threads. The JSON has `limits` (names of `resource` and their values), and perhaps `user` and `dies_with_parent`.
"""

import json
import os
import resource
import signal
import sys

NOBODY = 65534
PR_SET_PDEATHSIG = 1
NOT_RUN = 127
"""The exit status of a program that cannot be run, as a shell has it."""


def main(options_text: str, *argv: str) -> int:
    """Become `argv`; return only where that is not possible."""
    options = json.loads(options_text)
    if options.get("dies_with_parent"):
        die_with_parent()
    for name, value in options.get("limits", {}).items():
        kind = getattr(resource, name)
        hard = resource.getrlimit(kind)[1]
        most = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(kind, (most, most))
    if (user := options.get("user")) is not None:
        become(user)
    try:
        os.execvp(argv[0], argv)  # noqa: S606 - this is what it is for
    except OSError as error:
        sys.stderr.write(f"{argv[0]}: {error.strerror}\n")
    return NOT_RUN


def die_with_parent() -> None:
    """Be killed when the parent is, where the system can do so."""
    parent = os.getppid()
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGKILL)


def become(user: int) -> None:
    """Become a user that owns nothing; nobody where the system has no such user."""
    os.setgroups([])
    try:
        os.setgid(user)
        os.setuid(user)
    except OSError:
        os.setgid(NOBODY)
        os.setuid(NOBODY)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
