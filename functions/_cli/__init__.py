"""The command line: what it says and asks, and how it starts fast. Commands not moved yet are in `_runtime/cli`."""
