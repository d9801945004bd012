"""The command line in this process."""

from tests.runs.conftest import cli  # noqa: F401
