"""Writing a run.yaml that came from other people's files."""

from __future__ import annotations

from pathlib import Path

from lit_rl.errors import ConfigError
from lit_rl.interop.run_yaml import RunDraft


def write_draft(draft: RunDraft, to: str) -> None:
    """Write the file, which must not be there, and say what is not carried over."""
    out = Path(to)
    if out.exists():
        raise ConfigError(f"--out: {out} is there already; name another file.")
    out.write_text(draft.to_yaml())
    print(f"wrote {out}")
    say_what_is_left_out(draft)


def say_what_is_left_out(draft: RunDraft) -> None:
    """Print what the files say and a run.yaml cannot."""
    for item in draft.not_carried:
        print(f"  not carried over: {item.key}: {item.reason}")
