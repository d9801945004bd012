"""`show`: what a checkpoint or a run is."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from lit_rl.checkpoint.manifest import Checkpoint
from lit_rl.checkpoint.reader import load_rank
from lit_rl.checkpoint.store import CheckpointStore
from lit_rl.compare.find import no_such_run, path_or_run
from lit_rl.errors import EXIT_OK, ConfigError, DataError
from lit_rl.interop.replay_pickle import find_replay
from lit_rl.interop.sb3 import Agent
from lit_rl.interop.sb3 import describe as describe_tensors
from lit_rl.interop.vecnormalize import find_vecnormalize
from lit_rl.run.directory import CHECKPOINTS
from lit_rl.run.lineage import Lineage, digest_of
from lit_rl.run.sources import Source, find
from lit_rl.run.wanted import DEFAULT_ROOT
from lit_rl.state.parts import by_part
from lit_rl.state.plain import digest
from lit_rl.state.space import describe, space_from_plain

SUMMARY = "say what a checkpoint or a run is"
ORDER = 40


def main(argv: list[str]) -> int:
    """Run ``lit-rl show``."""
    parser = argparse.ArgumentParser(prog="lit-rl show", description="Say what a checkpoint or a run is.")
    parser.add_argument(
        "path", help="a checkpoint, a run directory or a name for its newest run, a .ckpt, or a stable-baselines3 .zip"
    )
    parser.add_argument("--root", type=Path, default=DEFAULT_ROOT, help="where names are looked for")
    parser.add_argument("--json", action="store_true", help="print JSON, with a sha256 of every part of the state")
    arguments = parser.parse_args(argv)
    if arguments.path in ("last", "best"):
        raise ConfigError(f"show: name a path, not '{arguments.path}', such as lightning_logs/run/version_0.")
    wanted = path_or_run(arguments.path, arguments.root)
    if "://" not in wanted and not Path(wanted).exists():
        raise ConfigError(no_such_run(wanted, arguments.root, "show"))
    source = find(wanted, arguments.root, "", False, "show")
    described = describe_agent(source.agent) if source.agent is not None else describe_source(source)
    if arguments.json:
        print(json.dumps(described, indent=2))
    else:
        print("\n".join(_lines(described) if source.agent is None else _agent_lines(described)))
    return EXIT_OK


def describe_source(source: Source) -> dict[str, Any]:
    """Everything `show` reports, as plain values."""
    ours = source.ours
    checkpoint = source.checkpoint
    ranks = [] if checkpoint is None else [load_rank(checkpoint, r) for r in range(checkpoint.manifest.world_size)]
    parts = by_part(source.lightning, ranks)
    digests = {name: digest(part) for name, part in parts.items()}
    counters = ours["run"]["counters"]
    described: dict[str, Any] = {
        "path": str(source.path),
        "algorithm": ours["algorithm"],
        "timesteps": counters["timesteps"],
        "target": ours["run"]["clock"]["target"],
        "counters": counters,
        "observation_space": describe(space_from_plain(ours["observation_space"])),
        "action_space": describe(space_from_plain(ours["action_space"])),
        "settings": source.lightning["hyper_parameters"],
        "tensors": {
            name: {"shape": list(tensor.shape), "dtype": str(tensor.dtype).removeprefix("torch.")}
            for name, tensor in source.lightning["state_dict"].items()
        },
        "parts": digests,
        "state": digest(digests),
        "complaints": source.complaints,
    }
    curriculum, settings = ours["run"].get("curriculum"), source.lightning["hyper_parameters"]
    if curriculum and "name" not in curriculum:
        dimensions = curriculum.get("dimensions") or {"": curriculum}
        described["levels"] = {name: each.get("strategy", "list") for name, each in dimensions.items()}
    elif curriculum:
        described["level"] = {
            "index": curriculum["level"],
            "name": curriculum["name"],
            "of": max(len(settings["curriculum"]["levels"]), 1),
            "timesteps": curriculum["timesteps_at_level"],
            "episodes": curriculum["episodes_at_level"],
        }
    if checkpoint is not None:
        manifest = checkpoint.manifest
        described |= {
            "run_id": manifest.run_id,
            "segment": manifest.segment,
            "created": manifest.created,
            "world_size": manifest.world_size,
            "score": manifest.score,
            "versions": manifest.versions,
            "digest": checkpoint.digest,
            "files": {name: entry.size for name, entry in manifest.files.items()},
        }
        described |= _run(checkpoint)
    return described


def describe_agent(agent: Agent) -> dict[str, Any]:
    """What a stable-baselines3 file says that can be read without running it."""
    return {
        "path": str(agent.path),
        "algorithm": agent.algorithm,
        "sb3_version": agent.sb3_version,
        "policy_class": agent.policy_class,
        "settings": agent.settings,
        "policy_kwargs": agent.policy_kwargs,
        "tensors": {
            line.name: {"shape": list(line.shape), "dtype": line.dtype} for line in describe_tensors(agent.policy)
        },
        "sha256": digest_of(agent.path),
        "not_read": agent.not_read,
        "goes_on_with": _goes_on_with(agent),
    }


def _goes_on_with(agent: Agent) -> dict[str, Any]:
    """What there is beside the weights for training to go on: optimizers in the zip, and files beside it."""
    states = {"policy.optimizer.pth": agent.policy_optimizer, **agent.tensors}
    beside = {"vecnormalize": find_vecnormalize(agent.path)[0], "replay": find_replay(agent.path)[0]}
    return {
        "optimizers": [name for name, state in states.items() if "optimizer" in name and state is not None],
        **{what: None if path is None else str(path) for what, path in beside.items()},
    }


def _agent_lines(d: dict[str, Any]) -> list[str]:
    lines = [f"stable-baselines3 agent: {d['path']}", f"sha256: {d['sha256']}", f"algorithm: {d['algorithm']}"]
    lines.append(f"version: {d['sb3_version'] or 'not said'}")
    done, target = (d["settings"].get(key) for key in ("num_timesteps", "_total_timesteps"))
    if done is not None:
        lines.append(f"timesteps: {done:,}{f' of {target:,}' if target else ''}")
    there = d["goes_on_with"]
    lines.append(f"optimizer: {', '.join(name.removesuffix('.pth') for name in there['optimizers']) or 'none'}")
    lines += [f"{what}: {there[what]}" for what in ("vecnormalize", "replay") if there[what] is not None]
    width = max((len(name) for name in d["tensors"]), default=0)
    lines += ["weights:", *(f"  {name:<{width}}  {tuple(t['shape'])} {t['dtype']}" for name, t in d["tensors"].items())]
    return lines


def _run(checkpoint: Checkpoint) -> dict[str, Any]:
    directory = checkpoint.path.parent.parent
    try:
        lineage = Lineage.read(directory)
    except DataError:
        return {}
    store = CheckpointStore(directory / CHECKPOINTS)
    return {
        "run": str(directory),
        "name": lineage.name,
        "mode": lineage.mode,
        "parents": lineage.parents,
        "segments": [
            {
                "number": s.number,
                "mode": s.mode,
                "from": s.from_timesteps,
                "to": s.to_timesteps,
                "cause": s.cause,
            }
            for s in lineage.segments
        ],
        "checkpoints": [c.path.name for c in store.inventory(checkpoint).checkpoints],
    }


def _lines(d: dict[str, Any]) -> list[str]:
    lines = [f"checkpoint: {d['path']}"]
    if "digest" in d:
        lines.append(f"sha256: {d['digest']}")
    if "run" in d:
        lines += [f"run: {d['run']}", f"run id: {d['run_id']}", f"mode: {d['mode']}"]
        lines += [f"parent: {p['path']} {p.get('digest', '')[:12]}".rstrip() for p in d["parents"]]
        for s in d["segments"]:
            to = "?" if s["to"] is None else f"{s['to']:,}"
            lines.append(
                f"segment {s['number']}: {s['mode']}, timesteps {s['from']:,} to {to}, {s['cause'] or 'going on'}"
            )
        lines.append(f"checkpoints: {', '.join(d['checkpoints'])}")
    lines += [
        f"algorithm: {d['algorithm']}",
        f"timestep: {d['timesteps']:,} of {d['target']:,}",
        f"observations: {d['observation_space']}",
        f"actions: {d['action_space']}",
    ]
    if "level" in d:
        level = d["level"]
        lines.append(
            f"level: {level['index']} of 0 to {level['of'] - 1}, '{level['name']}', {level['episodes']:,} episodes and "
            f"{level['timesteps']:,} timesteps"
        )
    if "levels" in d:
        chosen = [f"{name} by {how}" if name else f"by {how}" for name, how in d["levels"].items()]
        lines.append(f"levels: chosen {', '.join(chosen)}")
    if d["counters"].get("env_restarts"):
        lines.append(f"restarts of environments: {d['counters']['env_restarts']:,}")
    if d.get("score") is not None:
        lines.append(f"score: {d['score']:.6g}")
    lines.append(f"weights: {len(d['tensors'])} tensors")
    width = max(len(name) for name in d["parts"])
    lines += ["state:", *(f"  {name:<{width}}  {value[:16]}" for name, value in d["parts"].items())]
    lines.append(f"  {'all':<{width}}  {d['state'][:16]}")
    lines += [f"WARNING: {complaint}" for complaint in d["complaints"]]
    return lines
