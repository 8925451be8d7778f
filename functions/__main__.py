"""`python -m functions` is `flowc`."""

from functions._runtime.cli import main

if __name__ == "__main__":
    main()
