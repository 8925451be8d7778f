"""The code forge, pure: what its six stages take and make, which template fits, and what the approval gate says."""
