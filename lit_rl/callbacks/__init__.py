"""What happens around an iteration: saving, stopping, showing."""
