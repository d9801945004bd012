"""Writing a run.yaml that came from other people's files."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from lit_rl.cli.environments import named_environment
from lit_rl.envs.config import EnvConfig
from lit_rl.errors import ConfigError
from lit_rl.interop.run_yaml import RunDraft, draft_run, read_zoo_beside
from lit_rl.interop.sb3 import Agent
from lit_rl.interop.warmstart import moments_for


def draft_of(agent: Agent, env: str | None, vecnormalize: str | None, mode: Literal["warmstart", "resume"]) -> RunDraft:
    """The run.yaml that begins from an agent, by what lies beside its zip.

    Args:
        agent: of which.
        env: an id or a class, as the command line has it; `None` for what the files say.
        vecnormalize: its pickle; `None` looks for it.
        mode: how the run begins.
    """
    named = EnvConfig() if env is None else named_environment(env)
    stats, path = moments_for(agent, vecnormalize, "--vecnormalize")
    return draft_run(agent, stats, path, read_zoo_beside(agent), named.id, mode, named.class_path)


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
