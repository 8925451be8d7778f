"""The command line `flowc`. Nothing is imported before a command needs it, so that help comes at once."""

import errno
import gc
import os
import sys
from io import TextIOWrapper
from typing import TextIO

GARBAGE_THRESHOLD = 100_000
"""New objects between two searches for garbage: imports make many that stay, and searches took a tenth of a start."""

CANNOT_WRITE = 74
"""Exit status when what was asked for cannot be written: EX_IOERR of sysexits."""


def main() -> None:
    """Run the command line; the console script `flowc` and `python -m functions` come here.

    A reader that has enough (`flowc events | head`) is no error; a full disk is one line.
    """
    gc.set_threshold(GARBAGE_THRESHOLD, 20, 20)
    from functions._cli.app import app

    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal that cannot show an arrow still shows the words
    try:
        try:
            app(prog_name="flowc")
        finally:
            _flush(sys.stdout)
    except OSError as error:
        _drop(sys.stdout)
        if error.errno == errno.EPIPE:
            sys.exit(1)
        sys.stderr.write(f"flowc: cannot write: {error.strerror or error}\n")
        sys.exit(CANNOT_WRITE)


def _flush(stream: TextIO | None) -> None:
    if stream is not None and not stream.closed:  # neither is there when the caller has closed it
        stream.flush()


def _drop(stream: TextIO | None) -> None:
    """Let what is still to be written go nowhere: the interpreter would try once more and complain."""
    if isinstance(stream, TextIOWrapper):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
