"""Who is measured by `speed.py`, each in a process of its own, and what they all do."""
