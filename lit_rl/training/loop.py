"""One iteration: cycles of a rollout and its update up to the next boundary, and what is said of them.

Everything that steers the run happens between two cycles (counting, evaluating, curriculum), so that nothing that is
learned depends on how many of them are in an iteration. Logs, checkpoints and signals come between iterations.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import replace

from lit_rl.training.contract import Algorithm
from lit_rl.training.evaluation import evaluate_beside
from lit_rl.training.iteration import Iteration, Journal


class Loop:
    """Runs the iterations of an algorithm.

    Args:
        algorithm: whose `collect` and `update` they are.
        cycles: in one iteration.
    """

    def __init__(self, algorithm: Algorithm, cycles: int) -> None:
        self._algorithm, self._cycles = algorithm, cycles
        self.iteration = Iteration()
        """The last one, or the one going on."""
        self.journals: list[Journal] = []
        """Files of the run that take in every iteration."""
        self.phase = "beginning"
        """What is being done, for people."""
        self.on_boundary: Callable[[], None] | None = None
        """Called at the end of every iteration, before anything of it is logged."""
        self.ended_early: str | None = None
        """The metric by which an EarlyStopping has ended the run, once one has."""
        self._segment_start: tuple[float, int, float] | None = None

    def begin_segment(self) -> None:
        """Training begins in this process."""
        run = self._algorithm
        self._segment_start = (time.monotonic(), run.counters.timesteps, run.log_book.seconds)

    @property
    def finished(self) -> bool:
        """Whether the run has reached its target, an evaluation its `stop_on_reward`, or EarlyStopping has ended it."""
        reached = self._algorithm.counters.timesteps >= self._algorithm.clock.target or self.stop_on_reward_reached
        return reached or self.ended_early is not None

    @property
    def stop_on_reward_reached(self) -> bool:
        """Whether an evaluation of the last iteration reached `stop_on_reward`."""
        score = self._algorithm.score
        return self.iteration.evaluation is not None and score.ends_the_run(score.evaluated)

    def iterate(self) -> Iteration:
        """Do one iteration.

        It ends where the number of cycles since the run's start is a multiple of what is in one, and before that after
        an evaluation, a change of level, or at the run's end: all of it follows from the state.
        """
        run = self._algorithm
        now = self.iteration = Iteration(with_levels=run.curriculum is not None)
        metrics = self._cycle(now)
        while not (self._ends(now) or run.counters.iterations % self._cycles == 0):
            metrics = self._cycle(now)
        self.phase = "saving and logging"
        now.is_best = run.score.offer() and now.evaluation is not None
        if self.on_boundary is not None:
            self.on_boundary()
        if run.curriculum is not None:
            metrics |= run.curriculum.metrics()
        now.metrics = {**run.episodes.metrics(), **self._time_metrics(), **metrics}
        now.timesteps, now.seconds = run.counters.timesteps, run.log_book.seconds
        return now

    def _ends(self, now: Iteration) -> bool:
        return now.evaluation is not None or bool(now.level_changes) or self.finished

    def _cycle(self, now: Iteration) -> dict[str, float]:
        """Collect, update, count; evaluate and change the level where it is time to. Returns metrics."""
        run, before = self._algorithm, self._algorithm.counters.timesteps
        self.phase = "collecting"
        experience = run.collect()
        self.phase = "updating"
        metrics = run.update(experience)
        ended, timesteps = run.play.ended, run.counters.timesteps
        run.counters.iterations += 1
        run.episodes.extend(ended)
        now.cycles += 1
        now.ended += ended
        if run.curriculum is not None:
            if run.curriculum.wants_scores:
                scores = run.episode_scores(experience)
                ended = [replace(each, score=score) for each, score in zip(ended, scores, strict=True)]
            run.curriculum.record(ended, timesteps - before)
        if run.eval_config.due(before, timesteps):
            metrics |= self._evaluate(now)
        run.forget_episodes(run.play.settle())
        if run.counters.env_restarts:
            metrics["env/restarts"] = run.counters.env_restarts
        if run.curriculum is not None:
            now.level_changes = run.curriculum.advance(timesteps)
            run.play.assign(run.curriculum.assignment(timesteps))
        return metrics

    def _evaluate(self, now: Iteration) -> dict[str, float]:
        run, config, timesteps = self._algorithm, self._algorithm.eval_config, self._algorithm.counters.timesteps
        self.phase = "evaluating"
        curriculum = run.curriculum
        found = run.ranks.first(lambda: evaluate_beside(run, config, curriculum, timesteps))
        metrics = found.logged(run.levels, each=config.on_all(curriculum))
        now.evaluation = found
        height = 0 if curriculum is None or config.level != "current" else curriculum.height
        run.score.evaluated.take(timesteps, metrics["eval/mean_reward"], height)
        if curriculum is not None:
            for name, levels in curriculum.judged_on().items():
                judged = found.on_levels(levels) if config.on_all(curriculum) else found
                curriculum.dimensions[name].record_evaluation(judged.logged(run.levels, each=False))
        return metrics

    def _time_metrics(self) -> dict[str, float]:
        run = self._algorithm
        metrics: dict[str, float] = {
            "time/iterations": run.counters.iterations,
            "time/total_timesteps": run.counters.timesteps,
        }
        if self._segment_start is not None:
            start, timesteps, seconds = self._segment_start
            elapsed = max(time.monotonic() - start, sys.float_info.epsilon)
            run.log_book.seconds = seconds + elapsed
            metrics["time/fps"] = int((run.counters.timesteps - timesteps) / elapsed)
            metrics["time/time_elapsed"] = int(run.log_book.seconds)
        return metrics
