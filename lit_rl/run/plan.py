"""The one place that decides what is loaded from where.

What each mode loads is the table in docs/modes.md. Everything a user can get wrong is found here, before anything is
written.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

from lightning.pytorch import Trainer

from lit_rl.callbacks.early_stopping import EarlyStops, arguments_of, why_ended
from lit_rl.checkpoint.manifest import Checkpoint
from lit_rl.checkpoint.reader import Opened
from lit_rl.checkpoint.store import CheckpointStore
from lit_rl.envs.config import EnvConfig
from lit_rl.errors import ConfigError, DataError
from lit_rl.interop.standing import standing_of
from lit_rl.run.adopt import adopt, check_kind
from lit_rl.run.config import Mode, ResumeConfig, WarmstartConfig
from lit_rl.run.directory import is_held
from lit_rl.run.drift import changes, table
from lit_rl.run.hold import Hold
from lit_rl.run.lineage import Lineage, is_end
from lit_rl.run.planned import Plan, Schedules
from lit_rl.run.requeue import look_for_own
from lit_rl.run.sources import Source, find
from lit_rl.run.taken import take_parts
from lit_rl.run.wanted import NO_PARENT, newest_run
from lit_rl.run.weights import SKIPPING, check_shapes, count_as, warmstart, warmstart_from_agent
from lit_rl.state.parts import restore, union
from lit_rl.state.records import Evaluated
from lit_rl.state.space import space_from_plain
from lit_rl.training.module import RLModule
from lit_rl.training.settings import default_settings


def make_plan(
    module: RLModule,
    mode: Mode,
    name: str,
    root: Path,
    resume: ResumeConfig,
    warmstart_from: WarmstartConfig,
    hold: Hold,
    requeue: bool = False,
    trainer: Trainer | None = None,
) -> Plan:
    """Decide how the run begins. Builds the module's environments and networks, and loads a warmstart's weights.

    Args:
        trainer: the one that will train, where it is there already.

    Raises:
        Held: another process works on the run that is to go on.
        ConfigError: the mode cannot be carried out as asked.
        DataError: a checkpoint is damaged.
    """
    if requeue:
        own = look_for_own(mode, name, root, resume)
        plan = make_plan(module, own.mode, name, root, own.resume, warmstart_from, hold, trainer=trainer)
        plan.requeued = own
        if own.note is not None:
            plan.notes.insert(0, own.note)
        return plan
    if mode == "resume":
        return _plan_resume(module, hold.find(resume, root, name), resume, trainer)
    if mode == "warmstart":
        if warmstart_from.checkpoint is None:
            raise ConfigError(NO_PARENT)
        source = find(warmstart_from.checkpoint, root, name, False, "warmstart.checkpoint")
        return _plan_warmstart(module, source, warmstart_from)
    module.build_envs()
    module.build_networks()
    return Plan("fresh", module.clock.target, notes=_unfinished(root, name))


def _unfinished(root: Path, name: str) -> list[str]:
    """What is said where a new run begins beside one of its name that could go on."""
    newest = newest_run(root, name)
    try:
        segments = [] if newest is None or is_held(newest) else Lineage.read(newest).segments
    except DataError:
        return []
    if not segments or is_end(segments[-1].cause):
        return []
    return [f"{newest} is not finished: --mode resume or --requeue true would go on with it"]


def _check_algorithm(module: RLModule, source: Source) -> dict[str, Any]:
    ours = source.ours
    if ours["algorithm"] != type(module).__name__:
        raise ConfigError(
            f"{source.path} was written by {ours['algorithm']}, but model.class_path is {type(module).__name__}."
        )
    return ours


def _check_spaces(module: RLModule, source: Source, ours: dict[str, Any], way_out: str = "") -> None:
    observation, action = space_from_plain(ours["observation_space"]), space_from_plain(ours["action_space"])
    module.play.check_spaces(observation, action, of=str(source.path), way_out=way_out)


def _plan_resume(module: RLModule, source: Source, config: ResumeConfig, trainer: Trainer | None) -> Plan:
    checkpoint = source.checkpoint
    if source.agent is not None:
        return _plan_adoption(module, source, config)
    if checkpoint is None:
        raise ConfigError(
            f"resume.checkpoint: {source.path} is a bare file without the environments and streams of its run; resume "
            "from its checkpoint directory, or use mode: warmstart."
        )
    ours = _check_algorithm(module, source)
    directory = checkpoint.path.parent.parent
    lineage = Lineage.read(directory)
    timesteps, clock = checkpoint.manifest.timesteps, ours["run"]["clock"]
    found = changes(source.lightning["hyper_parameters"], module.settings(), default_settings(type(module)))
    plan = Plan("resume", clock["target"], directory, checkpoint, timesteps, config.schedule, fork=config.fork)
    plan.extended = _set_target(plan, module, lineage, config, any(change.key == "total_timesteps" for change in found))
    plan.moved, plan.computed = plan.target != clock["target"], ours.get("computed")
    if config.fork:
        plan.parents = [{**parent_of(checkpoint), "segment": checkpoint.manifest.segment}]
    plan.notes = [*(f"WARNING: {said}" for said in source.complaints), *_going_back(checkpoint, config)]
    if source.adopted is not None:
        plan.notes.append(
            f"goes on with {directory}, which began from {source.adopted}; resume.fork: true begins another from it"
        )
    plan.changed = [change for change in found if change.key != "total_timesteps"]
    evaluated = Evaluated()
    restore({"evaluation": evaluated}, ours["run"])
    if not plan.extended and evaluated.timesteps == timesteps and module.score.ends_the_run(evaluated):
        plan.reached = evaluated.reward
    if not plan.extended:
        early = source.lightning.get("callbacks", {}).get(EarlyStops().state_key, {})
        plan.ended_early = why_ended(early, arguments_of(trainer))
    if plan.nothing_to_do:
        return plan
    module.play.resuming = True
    module.build_envs()
    _check_spaces(module, source, ours)
    module.build_networks()
    _refuse_fixed(module, plan)
    check_shapes(dict(module.state_dict()), source.lightning["state_dict"], str(source.path))
    _check_drift(module, plan, config)
    restore({"curriculum": module.curriculum}, ours["run"])  # a level that is gone is told before anything is written
    assert module.play.envs is not None
    if config.require == "exact" and module.play.envs.grade != "exact":
        raise ConfigError(
            f"resume.require is exact, but env {module.env_config.name} cannot bring its episodes back; try "
            "env.fresh_instance: true."
        )
    return plan


def _plan_adoption(module: RLModule, source: Source, config: ResumeConfig) -> Plan:
    agent = source.agent
    assert agent is not None
    check_kind(module, agent)
    standing, target = standing_of(agent), module.clock.target
    plan = Plan("resume", target, timesteps=standing.timesteps, schedule=config.schedule)
    if config.total_timesteps is not None:
        plan.target = config.total_timesteps
    elif config.additional_timesteps is not None:
        plan.additional, plan.counted_from = config.additional_timesteps, plan.timesteps
        plan.target = plan.counted_from + plan.additional
    plan.moved = plan.target != (standing.target or target)
    plan.notes = [f"WARNING: {said}" for said in source.complaints]
    module.build_envs()
    module.build_networks()
    plan.adopted = adopt(module, source, standing, config)
    plan.parents, plan.changed = plan.adopted.parents, plan.adopted.changed
    plan.notes += plan.adopted.notes
    _check_drift(module, plan, config)
    return plan


def _set_target(plan: Plan, module: RLModule, lineage: Lineage, config: ResumeConfig, in_config: bool) -> bool:
    """Where a resumed run goes to. Returns whether the `resume` block says so, now or when the run was last resumed.

    A target that was given holds from the moment its segment began: also if that segment saved nothing.
    """
    last = lineage.segments[-1] if lineage.segments else None
    assert plan.checkpoint is not None
    if config.total_timesteps is not None:
        plan.target = config.total_timesteps
        return True
    if config.additional_timesteps is not None:
        plan.additional, plan.counted_from = config.additional_timesteps, plan.timesteps
        if last is not None and last.additional == plan.additional and not config.fork:
            since = last.counted_from
            plan.counted_from = since if since is not None and since <= plan.timesteps else plan.timesteps
        plan.target = plan.counted_from + plan.additional
        return True
    unsaved = last is not None and last.number > plan.checkpoint.manifest.segment
    if in_config:
        plan.target = module.clock.target
    elif last is not None and unsaved and last.checkpoint == plan.checkpoint.name and not config.fork:
        plan.target, plan.additional, plan.counted_from = last.target, last.additional, last.counted_from
        if last.schedule is not None and config.schedule == "keep":
            plan.schedule = cast(Schedules, last.schedule)
        return last.schedule is not None
    return False


def _going_back(checkpoint: Opened, config: ResumeConfig) -> list[str]:
    """What is said where a run does not go on from its newest checkpoint."""
    inventory = CheckpointStore(checkpoint.path.parent).inventory(checkpoint)
    newest = inventory.checkpoints[0] if inventory.checkpoints else None
    if newest is None or config.fork or newest.manifest.order <= checkpoint.manifest.order:
        return []
    return [
        f"goes back from timestep {newest.manifest.timesteps:,} ({newest.path.name}): what came after "
        f"{checkpoint.manifest.timesteps:,} is kept until the first save and then deleted; resume.fork: true keeps it"
    ]


def _refuse_fixed(module: RLModule, plan: Plan) -> None:
    why = union(type(module), "FIXED").get("trainer.devices")
    written = 0 if plan.checkpoint is None else plan.checkpoint.manifest.world_size
    if why is not None and written != module.ranks.size:
        raise ConfigError(
            f"trainer.devices: the run is of {written} rank{'s' * (written > 1)}, not of {module.ranks.size}; {why}: "
            "their number cannot change."
        )
    fixed = [change for change in plan.changed if change.within(union(type(module), "FIXED"))]
    if fixed:
        way_out = "mode: warmstart begins a new run with its weights"
        raise ConfigError(f"these settings cannot change when a run is resumed; {way_out}:\n{table(fixed)}")


def _check_drift(module: RLModule, plan: Plan, config: ResumeConfig) -> None:
    may = union(type(module), "FREE").keys() | {f"env.{key}" for key in EnvConfig.FREE}
    counts = module.curriculum is not None and module.curriculum.needs_evaluation
    learned = [change for change in plan.changed if not change.free(may, counts)]
    if learned and config.on_config_change == "error":
        raise ConfigError(
            "these settings differ from the run's and change what is learned; set them back, or "
            f"resume.on_config_change: accept:\n{table(learned)}"
        )
    for change in plan.changed:
        if change.key == "env.n_envs" and plan.adopted is None:
            plan.n_envs_before = change.old
            few, many = sorted((change.old, change.new))
            what = "begun anew" if change.new > change.old else "given up with what was in flight"
            plan.notes.append(f"env.n_envs: {change.old} -> {change.new}, environments {few} to {many - 1} are {what}")
    if learned and config.on_config_change == "warn":
        plan.notes.append("WARNING: the settings below differ from the run's and change what is learned.")


def _plan_warmstart(module: RLModule, source: Source, config: WarmstartConfig) -> Plan:
    parent: dict[str, Any]
    module.build_envs()
    module.build_networks()
    _warmstart_level(module, source, config)
    if source.agent is not None:
        report = warmstart_from_agent(module, source.agent, config)
        taken = take_parts(module, source, config)
        parent = {"path": str(source.path), "sha256": report.digest, "sb3_version": source.agent.sb3_version}
        notes = [*report.lines, *taken.lines]
        return Plan("warmstart", module.clock.target, parents=[parent, *taken.parents], notes=notes)
    ours = source.ours
    if config.on_mismatch == "error":
        _check_spaces(module, source, ours, SKIPPING)
    report = warmstart(module, source.lightning["state_dict"], config, str(source.path))
    taken = take_parts(module, source, config)
    parent = {"path": str(source.path)}
    if source.checkpoint is not None:
        parent = parent_of(source.checkpoint)
    notes = [*source.complaints, *report.lines, *taken.lines]
    return Plan("warmstart", module.clock.target, parents=[parent, *taken.parents], notes=notes)


def parent_of(checkpoint: Checkpoint) -> dict[str, Any]:
    """What the lineage of a new run says of the checkpoint it begins from."""
    manifest = checkpoint.manifest
    said = {"path": str(checkpoint.path), "digest": checkpoint.digest, "run_id": manifest.run_id}
    return {**said, "timesteps": manifest.timesteps}


def _warmstart_level(module: RLModule, source: Source, config: WarmstartConfig) -> None:
    if module.curriculum is None:
        if config.level != 0:
            raise ConfigError(f"warmstart.level: is {config.level}, and this run has no curriculum; remove it.")
        return
    if config.level != "carry":
        module.curriculum.start_at(config.level)
        return
    state = source.lightning.get("lit_rl", {}).get("run", {}).get("curriculum")
    if not state:
        raise ConfigError(
            f"warmstart.level: carry needs a run with a curriculum, and {source.path} has none; give a level's index."
        )
    module.curriculum.carry(state)


def prepare_evaluation(module: RLModule, source: Source, vecnormalize: str | None = None) -> None:
    """Give a module the weights and moments of a checkpoint, to be evaluated in its own environments.

    Args:
        module: a new module.
        source: the checkpoint, or a stable-baselines3 agent.
        vecnormalize: the agent's VecNormalize pickle, where it is not found by name.

    Raises:
        ConfigError: they do not fit the module or its environments.
    """
    if source.agent is not None:
        module.play.build_for_evaluation(module.eval_config.max_episode_steps)
        module.build_networks()
        warmstart_from_agent(module, source.agent, WarmstartConfig(vecnormalize=vecnormalize))
        count_as(module, source.agent)
        return
    ours = _check_algorithm(module, source)
    module.play.build_for_evaluation(module.eval_config.max_episode_steps)
    _check_spaces(module, source, ours)
    module.build_networks()
    check_shapes(dict(module.state_dict()), source.lightning["state_dict"], str(source.path))
    module.load_state_dict(source.lightning["state_dict"])
    parts = {"curriculum": module.curriculum, "counters": module.counters, "clock": module.clock}
    restore(parts, ours["run"])
