"""Ways to choose the level of every episode: one file each."""
