"""The life cycle of a run inside Lightning: what every algorithm shares, and none of its maths."""
