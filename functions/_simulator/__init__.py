"""The simulator: the real platform in virtual time, with faults, and its invariants checked at each step.

`loop` is time and order, `process` is what a crash ends, `ports` is where faults strike, `workers` and `environment`
are the world outside, `invariants` are the checks, `world` is one simulated world, `run` runs many of them.
"""
