"""The contract as files: schemas, examples, envelopes, catalogue and diagrams, all made of the code that keeps it."""
