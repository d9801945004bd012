"""What `doctor` says of an environment: findings, and what to do about each."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from lit_rl.curriculum.levels import Level
from lit_rl.envs.config import EnvConfig

_WIDTH = 80
_REPLAY = 1_000_000
_MUCH = 8e9
"""Bytes of a replay that are worth a word."""
_SHORT_SPACE = 50
_SCREEN = "screen"
"""What is found for the screen alone: a space's text may be a page long."""


def look(
    config: EnvConfig, seed: int, levels: Sequence[Level], n_envs: int, stage: Callable[[str], None]
) -> dict[str, Any]:
    """Everything that is found, as plain values."""
    from lit_rl.envs.examine import examine
    from lit_rl.envs.spaces import plain_action_space

    found = examine(config, seed, levels, n_envs, stage)
    stage("its algorithms are looked for")
    from lit_rl.data.replay import Replay
    from lit_rl.interop.recipes import algorithm_named, default_algorithm, fitting, policy_for

    action = plain_action_space(found.own.action)
    fits = fitting(action, found.masks)
    suggested = default_algorithm(found.observation_space, action, found.masks)
    return {
        "environment": config.name,
        "observation_space": " ".join(str(found.own.observation).split()),
        "action_space": " ".join(str(found.own.action).split()),
        _SCREEN: {"observations": _said(found.own.observation), "actions": _said(found.own.action)},
        "observation_bytes": found.obs_bytes,
        "replay_bytes": Replay.bytes_needed(_REPLAY, 1, found.observation_space, action),
        "seeded": found.seeded,
        "seed_matters": found.seed_matters,
        "deterministic": found.deterministic,
        "global_streams": found.streams,
        "resume_grade": found.grade,
        "remedy": found.remedy,
        "step_seconds": found.step_seconds,
        "n_envs": found.n_envs,
        "backend": found.backend,
        "backend_why": found.why,
        "out_of_bounds": found.out_of_bounds,
        "is_atari": (config.id or "").startswith("ALE/") or "NoFrameskip" in (config.id or ""),
        "preprocessed": config.atari,
        "algorithms": [name for name, reason in fits.items() if reason is None],
        "suggested": suggested,
        "policy": policy_for(found.observation_space, algorithm_named(suggested)),
        "refused": {name: reason for name, reason in fits.items() if reason is not None},
    }


def plain(found: dict[str, Any]) -> dict[str, Any]:
    """The same for JSON, with what to do."""
    return {**{name: value for name, value in found.items() if name != _SCREEN}, "advice": [*remedies(found)]}


def screen(found: dict[str, Any]) -> str:
    """The same to be read, in 80 columns."""
    rows = [*_rows(found)]
    width = max(len(name) for name, _ in rows) + 2
    lines = [
        line
        for name, text in rows
        for line in textwrap.wrap(
            text,
            _WIDTH,
            initial_indent=f"{name}:".ljust(width),
            subsequent_indent=" " * width,
            break_on_hyphens=False,
        )
    ]
    advice = [*remedies(found)] or ["nothing: it can be trained on, and its runs resume exactly."]
    lines += ["", "what to do"]
    for each in advice:
        lines += textwrap.wrap(each, _WIDTH, initial_indent="  - ", subsequent_indent="    ", break_on_hyphens=False)
    return "\n".join(lines)


def _rows(d: dict[str, Any]) -> Iterator[tuple[str, str]]:
    yield "environment", d["environment"]
    yield "observations", f"{d[_SCREEN]['observations']}, {d['observation_bytes']:,} bytes"
    yield "actions", d[_SCREEN]["actions"]
    yield "seeding", _seeding(d)
    yield "determinism", f"the same actions give {'the same' if d['deterministic'] else 'other'} bits"
    exact = d["resume_grade"] == "exact"
    comes = "an episode in flight comes back" if exact else "a resumed run begins a new episode"
    yield "resume grade", f"{d['resume_grade']}: {comes}"
    yield "global streams", ", ".join(d["global_streams"]) or "none"
    per_second = 1 / d["step_seconds"] if d["step_seconds"] > 0 else 0.0
    yield "a step", f"{1e3 * d['step_seconds']:.3g} ms, {per_second:,.0f} a second"
    short = "steps are too short for other processes, or there is one core"
    why = d["backend_why"] or (short if d["backend"] == "sync" else "env.step_timeout needs worker processes")
    yield "backend", f"{d['backend']}, of {d['n_envs']} environments ({why})"
    replay = d["replay_bytes"] / 1e9
    yield "replay", f"{replay:,.{0 if replay > 10 else 2}f} GB for {_REPLAY:,} transitions, where an algorithm has one"
    suited = [f"{name} (suits best)" if name == d["suggested"] else name for name in d["algorithms"]]
    yield "algorithms", f"{', '.join(suited)}; policy: {d['policy']}"
    if d["refused"]:
        yield "not", ", ".join(d["refused"])


def _seeding(d: dict[str, Any]) -> str:
    if not d["seeded"]:
        again = "a second reset with a seed" if d["deterministic"] else "a reset with the same seed"
        return f"{again} begins otherwise"
    return "a reset with a seed repeats itself" + ("" if d["seed_matters"] else "; all seeds begin alike")


def remedies(d: dict[str, Any]) -> Iterator[str]:
    """What to do about each finding."""
    if not d["seeded"] and d["deterministic"]:
        yield "seeding: it carries something across resets that reset(seed=seed) should set anew."
    elif not d["seeded"] and not d["global_streams"]:
        yield "seeding: call super().reset(seed=seed) first, and draw from self.np_random alone."
    elif not d["deterministic"] and not d["global_streams"]:
        yield (
            "determinism: what a step does should follow from seed and actions alone: look for clocks, threads, and "
            "sets that are iterated."
        )
    if d["global_streams"]:
        yield (
            f"global streams: it draws from {', '.join(d['global_streams'])}; a run gives each environment its own "
            "(env.global_streams), which costs 0.1 ms a step. Drawing from self.np_random costs nothing."
        )
    if d["resume_grade"] != "exact":
        settings = ", ".join(f"env.{key}: {str(value).lower()}" for key, value in d["remedy"].items())
        yield (
            f"resume grade: with {settings} it is exact."
            if settings
            else "resume grade: until it is repeatable, a resumed run begins new episodes; all else is exact. "
            "resume.require: exact would refuse."
        )
    if d["replay_bytes"] > _MUCH:
        yield f"replay: a full one of {_REPLAY:,} takes {d['replay_bytes'] / 1e9:,.0f} GB; set model.buffer_size."
    if d["is_atari"] and not d["preprocessed"]:
        yield "Atari: env.atari: true gives stable-baselines3's preprocessing, 84x84 and grey."
    if d["out_of_bounds"]:
        yield f"bounds: it sends {d['out_of_bounds']}; nothing that is learned depends on that."


def _said(space: Any) -> str:
    """A space in a line: whole where that is short, else without its bounds."""
    from lit_rl.state.space import describe

    whole = str(space)
    return whole if len(whole) <= _SHORT_SPACE and "\n" not in whole else describe(space)
