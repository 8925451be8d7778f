"""C1: decide whether a decision's plan can and may be carried out."""
