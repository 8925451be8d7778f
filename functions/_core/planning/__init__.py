"""Planning: from a checked plan to tickets that share its deadline (C2)."""
