"""By which checkpoints are compared, and whether an evaluation ends the run."""

from __future__ import annotations

from lit_rl.curriculum import Curriculum
from lit_rl.state.records import Best, Counters, EpisodeWindow, Evaluated
from lit_rl.training.config import EvalConfig


class Score:
    """The score of a run: its last evaluation and its best, both parts of its state.

    Args:
        config: of evaluation beside training.
        curriculum: `None` for a run without levels.
        episodes: the window of finished ones, whose mean return counts where nothing is evaluated.
        counters: of the run.
    """

    def __init__(
        self, config: EvalConfig, curriculum: Curriculum | None, episodes: EpisodeWindow, counters: Counters
    ) -> None:
        self._config, self._curriculum, self._episodes, self._counters = config, curriculum, episodes, counters
        self.evaluated = Evaluated()
        self.best = Best()

    @property
    def value(self) -> float | None:
        """The mean return of the evaluation made just now, or of the last episodes (with a curriculum, of those on its
        current level, if there is one). `None` where there is none.
        """
        if self._config.every is not None:
            return self.evaluated.reward if self.evaluated.timesteps == self._counters.timesteps else None
        current = None if self._curriculum is None else self._curriculum.current
        if current is not None:
            return self._episodes.mean_return_on(current)
        return self._episodes.metrics().get("rollout/ep_rew_mean")

    @property
    def level(self) -> int:
        """How high the curriculum's level is that the value belongs to; 0 where all compare."""
        if self._config.every is not None:
            return self.evaluated.level
        return 0 if self._curriculum is None else self._curriculum.height

    def offer(self) -> bool:
        """Take the value of this moment if it is the best so far; says whether it is."""
        return self.best.offer(self.value, self._counters.timesteps, self.level)

    def ends_the_run(self, evaluated: Evaluated) -> bool:
        """Whether an evaluation reached `stop_on_reward`."""
        wanted, on_current = self._config.stop_on_reward, self._config.level == "current"
        is_last = not on_current or self._curriculum is None or evaluated.level == self._curriculum.top
        return wanted is not None and evaluated.reward is not None and is_last and evaluated.reward >= wanted
