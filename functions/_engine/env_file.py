"""Settings in a file `.env` beside the work: `NAME=value` lines, of which those of Flow C are read.

What the environment says counts more, also when it is empty. Nothing is expanded, and nothing of the file gets into the
environment of tasks. A file that holds a secret is its owner's alone, as a key's is.
"""

import os
import re
import stat
from collections.abc import Mapping
from pathlib import Path

from functions._engine.settings import PREFIX, Settings, SettingsError

FILE = Path(".env")
MOST_BYTES = 64 * 1024

LINE = re.compile(r"(?:export\s+)?(?P<name>[A-Za-z_][A-Za-z0-9_]*)\s*=\s*(?P<value>.*)")
BARE_COMMENT = re.compile(r"(?<!\s)\s+#.*")

OTHERS_MAY_WRITE = 0o022
OTHERS_MAY_READ = 0o044

SECRET = frozenset(
    PREFIX + name.upper() for name, field in Settings.model_fields.items() if "SecretStr" in str(field.annotation)
)
"""Variables whose values nobody else may read."""


def with_env_file(environment: Mapping[str, str], file: Path = FILE) -> Mapping[str, str]:
    """Return the environment with the settings of `file` behind it, if there is one; raise `SettingsError`."""
    try:
        # A pipe would keep whoever opens it waiting.
        with os.fdopen(os.open(file, os.O_RDONLY | os.O_NONBLOCK), "rb") as opened:
            about = os.fstat(opened.fileno())
            text = opened.read(MOST_BYTES + 1)
    except (FileNotFoundError, IsADirectoryError):
        return environment
    except OSError as error:
        raise SettingsError([f"{file}: cannot be read: {error.strerror}"]) from error
    if len(text) > MOST_BYTES:
        raise SettingsError([f"{file}: a file of settings has at most {MOST_BYTES} bytes"])
    if not stat.S_ISREG(about.st_mode):
        raise SettingsError([f"{file}: it is no file"])
    if about.st_uid not in {os.getuid(), 0}:
        raise SettingsError([f"{file}: it belongs to somebody else"])
    if about.st_mode & OTHERS_MAY_WRITE:
        raise SettingsError([f"{file}: others may write it; chmod go= {file}"])
    found = _settings(text, file)
    if about.st_mode & OTHERS_MAY_READ and any(found[name] for name in SECRET & found.keys()):
        raise SettingsError([f"{file}: it holds a secret and others may read it; chmod go= {file}"])
    return {**found, **environment}


def _settings(text: bytes, file: Path) -> Mapping[str, str]:
    """Return the settings in `text`; variables of other programs are theirs."""
    try:
        lines = text.decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise SettingsError([f"{file}: it is no UTF-8 text"]) from error
    found, problems = {}, []
    for number, line in enumerate(map(str.strip, lines), 1):
        match = LINE.fullmatch(line)
        if match is not None:
            if match["name"].startswith(PREFIX):
                found[match["name"]] = _value(match["value"])
        elif line and not line.startswith("#"):
            problems.append(f"{file}: line {number} is not NAME=value")
    if problems:
        raise SettingsError(problems)
    return found


def _value(text: str) -> str:
    """Return a value without its quotes, or without the comment behind it."""
    for quote in ("'", '"'):
        if text.startswith(quote):
            inner, closed, rest = text[1:].partition(quote)
            if closed and not BARE_COMMENT.sub("", f" {rest}").strip():
                return inner
    return BARE_COMMENT.sub("", f" {text}").strip()
