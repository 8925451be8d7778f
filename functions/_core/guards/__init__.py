"""Guards: what plans and tickets may ask for, by rules that are data and by a policy server."""
