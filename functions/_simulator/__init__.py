"""The simulator: modules not moved yet are in `_runtime/simulator`."""
