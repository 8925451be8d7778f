"""The reference worker: so far, how it tells the platform's messages from those of others."""
