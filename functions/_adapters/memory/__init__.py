"""Every storage port in dicts: the reference implementation, and what simulation and unit tests run on.

It reads no clock and does no I/O, so a run can be repeated exactly.
"""

from functions._adapters.memory.sink import MemorySink
from functions._adapters.memory.store import MemoryStore

__all__ = ["MemorySink", "MemoryStore"]
