"""What a run is: every part of its state, and how it lies on disk."""
