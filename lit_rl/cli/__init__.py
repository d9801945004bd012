"""The command line: a thin dispatcher in front of Lightning's own."""
