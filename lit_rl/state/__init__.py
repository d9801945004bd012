"""What a run is: every part of its state."""
