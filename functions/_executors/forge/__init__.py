"""The stages of the code forge, as executors: each does one task of a pipeline's flow."""
