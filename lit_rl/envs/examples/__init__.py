"""Small environments of our own, pure NumPy, used by the documentation and the tests."""
