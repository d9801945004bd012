"""What a run says of itself: where it begins and with what, and how it has ended."""

from __future__ import annotations

from pathlib import Path

from lit_rl.checkpoint.files import lacking
from lit_rl.checkpoint.manifest import library_versions
from lit_rl.run.drift import table
from lit_rl.run.lineage import Lineage, is_end
from lit_rl.run.planned import Plan
from lit_rl.run.weights import owned_by
from lit_rl.state.parts import parts_of
from lit_rl.training.computed import said_of_device
from lit_rl.training.contract import Algorithm
from lit_rl.training.module import RLModule


def banner(module: RLModule, plan: Plan, lineage: Lineage, directory: Path, restarted: list[int]) -> str:
    """What happened at the start, in a few lines. `restarted`: environments that could not be brought back."""
    ranks = module.ranks
    assert module.play.envs is not None
    new = " (a run of stable-baselines3 goes on)" if plan.adopted is not None else ""
    lines = [f"mode: {plan.mode}{new}", f"run: {directory} ({lineage.run_id[:12]})"]
    if plan.checkpoint is not None:
        lines.append(f"checkpoint: {plan.checkpoint.path.name} (sha256 {plan.checkpoint.digest[:12]})")
    for parent in plan.parents:
        digest = parent.get("digest") or parent.get("sha256")
        digest = f" (sha256 {digest[:12]})" if digest else ""
        lines.append(f"parent: {parent['path']}{digest}")
    clock = module.clock
    lines.append(f"timestep: {module.counters.timesteps:,} of {clock.target:,}")
    if module.curriculum is not None:
        lines.append(f"level: {module.curriculum.describe()}")
    lines.append(
        f"learning rate: {module.learning_rate_at(module.counters.timesteps):.4g}{_schedule_note(module, plan)}"
    )
    lines.append(
        f"environments: {module.env_config.n_envs} x {module.env_config.name}, {_environments(module, restarted)}"
    )
    lines += module.describe()
    lines += said_of_device(module, plan.computed)
    if not ranks.alone:
        share = module.env_config.n_envs // ranks.size
        lines.append(f"ranks: {ranks.size}, with {share} environment{'s' if share > 1 else ''} each")
    if plan.checkpoint is not None and plan.checkpoint.manifest.world_size != ranks.size:
        equal = (
            "to the bit" if module.play.lockstep else "to float tolerance (model.deterministic_reduction: to the bit)"
        )
        lines.append(
            f"ranks before: {plan.checkpoint.manifest.world_size}; environments are dealt out anew, and from here "
            f"on the run equals one that went on with that number {equal}"
        )
    if plan.checkpoint is not None:
        now = library_versions()
        before = plan.checkpoint.manifest.versions
        others = [f"{name} {old} -> {now[name]}" for name, old in before.items() if now.get(name, old) != old]
        if others:
            lines.append(f"versions: {', '.join(others)}; equal to the bit is only what the same versions compute")
    if plan.checkpoint is not None:
        parts = [
            "policy",
            "value",
            "optimizer",
            "schedules",
            "counters",
            "random streams",
            "environments",
        ]
        own = {name: part for name, part in parts_of(module, "rank").items() if name not in Algorithm.PARTS}
        parts += [name for name, part in own.items() if part is not None]
        if module.curriculum is not None:
            parts.append("curriculum")
        owned = {each.part for each in owned_by(module).values()}
        parts += [p for p in ("obs_moments", "reward_moments") if p in owned]
        lines.append(f"loaded: {', '.join(parts)}")
    else:
        lines.append("loaded: nothing, everything is new" if plan.begins_as == "fresh" else "loaded:")
    lines += [f"  {note}" for note in plan.notes]
    lines += [f"WARNING: {directory}: {what}" for what in lacking]
    if plan.changed:
        lines.append("changed settings:\n" + table(plan.changed))
    return "\n".join(lines)


def _schedule_note(module: RLModule, plan: Plan) -> str:
    if not plan.moved:
        return ""
    clock, how = module.clock, plan.schedule
    end = module.learning_rate_at(clock.target)
    note = f" (target moved, schedules {how}: {end:.4g} at {clock.target:,})"
    if end == 0.0 and how != "stretch":
        since = plan.timesteps if how == "hold" else max(clock.horizon, plan.timesteps)
        note += f"\nWARNING: the learning rate is 0 from timestep {since:,} on and nothing more will be learned; "
        note += "resume.schedule: stretch learns on"
    return note


def _environments(module: RLModule, restarted: list[int]) -> str:
    assert module.play.envs is not None
    kind = type(module.play.envs).__name__.removesuffix("VectorEnv").lower()
    if module.play.envs.grade == "boundary":
        hint = "" if kind == "native" else "; env.fresh_instance: true may make it exact"
        text = f"{kind}, resume grade boundary (an environment carries state across resets{hint})"
    else:
        text = f"{kind}, resume grade exact"
    if module.play.envs.why:
        text += f"; {module.play.envs.why}"
    if module.play.envs.own_streams:
        text += "; they draw from global random streams, and each has its own"
    if restarted:
        text += (
            f"; {len(restarted)} of {module.env_config.n_envs} episodes in flight could not be brought back "
            "and were restarted"
        )
    return text


def summary(module: RLModule, cause: str, directory: Path) -> str:
    """What happened at the end, in two lines; `cause` as the lineage says it."""
    what = f"stopped by {cause}; go on with mode: resume"
    if is_end(cause):
        what = "finished" if cause == "finished" else f"finished by {cause}"
    line = f"{what}: timestep {module.counters.timesteps:,} of {module.clock.target:,}"
    if module.curriculum is not None:
        line += f", level {module.curriculum.describe()}"
    if module.episodes.count:
        mean = module.episodes.metrics()["rollout/ep_rew_mean"]
        line += f", return {mean:.4g} over the last {module.episodes.count} episodes"
    if module.score.evaluated.reward is not None:
        line += f", {module.score.evaluated.reward:.4g} in the evaluation at {module.score.evaluated.timesteps:,}"
    return f"{line}\nresults: {directory}"
