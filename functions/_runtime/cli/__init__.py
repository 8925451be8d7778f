"""The command line `flowc`. Nothing is imported before a command needs it, so that help comes at once."""

import sys
from io import TextIOWrapper


def main() -> None:
    """Run the command line; the console script `flowc` and `python -m functions` come here."""
    from functions._runtime.cli.app import app

    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal that cannot show an arrow still shows the words
    app(prog_name="flowc")
