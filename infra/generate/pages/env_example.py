"""`.env.example`: every setting with its meaning and its default, to copy and to fill in."""

from collections.abc import Iterator
from textwrap import wrap

from functions._engine.settings import PREFIX
from infra.generate.pages.settings import about, default, fields

INTRODUCTION = """\
# Every setting of `flowc up`. Copy this file to `.env`, where the platform is started, and take the `#` before what
# you set. The environment counts more than the file, options of the command more than both. With a secret in it the
# file has to be its owner's alone: chmod 600 .env. Made by `make reference`; do not edit.
"""

WIDTH = 118


def env_example() -> str:
    """Return the file."""
    return INTRODUCTION + "".join(_settings())


def _settings() -> Iterator[str]:
    for name, field in fields().items():
        words = about(name, field).replace("`", "")
        comment = "".join(f"# {line}\n" for line in wrap(words, WIDTH))
        yield f"\n{comment}# {PREFIX}{name.upper()}={default(field)}\n"
