"""The scheduled trigger that keeps the SLA: acts on every wake-up that has come."""
