"""The reference worker. Modules not moved yet are in `_runtime/worker`."""
