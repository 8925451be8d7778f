"""Flow C as a package to import: its version. `flowc.client` and `flowc.worker` are imported by those who use them.

It stays thin: importing it imports nothing that a program may not need. The platform is in `functions`.
"""

from functions._engine.version import __version__

__all__ = ["__version__"]
