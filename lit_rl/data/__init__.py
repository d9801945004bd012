"""Storage of what was collected."""
