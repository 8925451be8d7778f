"""`python -m functions` is `flowc`; followed by the name of a function, it serves that function alone."""

import sys

from functions._hosts.entry import NAMES, serve_alone


def main() -> None:
    """Do what the command line says."""
    if len(sys.argv) == 2 and sys.argv[1] in NAMES:  # noqa: PLR2004 the program and the name
        serve_alone(sys.argv[1])
    else:
        from functions._cli import main as flowc  # noqa: PLC0415 it takes long to import

        flowc()


if __name__ == "__main__":
    main()
