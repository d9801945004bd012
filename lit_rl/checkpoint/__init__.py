"""How a state lies on disk: the manifest, writing and committing, opening and checking, and which are kept."""
