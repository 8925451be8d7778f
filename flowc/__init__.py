"""Flow C as a package to import: its version. Clients and workers in Python belong here, the platform to `functions`.

It stays thin: importing it imports nothing that a program may not need.
"""

from functions._engine.version import __version__

__all__ = ["__version__"]
