"""How a run begins, and where it lives."""
