"""`python -m flowc` is the command `flowc`."""

from functions._cli import main

if __name__ == "__main__":
    main()
