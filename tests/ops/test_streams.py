"""Random streams: what they give is part of the checkpoint format.

The numbers were written down once. A change of the derivation would leave every check of equality within one
version green and change what older checkpoints go on with, so it has to fail here.
"""

import itertools

import numpy as np
import pytest

from lit_rl.ops.distributions import (
    Bernoulli,
    Categorical,
    DiagonalGaussian,
    MultiCategorical,
    StateDependentNoise,
)
from lit_rl.ops.streams import SEED_BLOCK, EpisodeSeeds, generator


@pytest.mark.parametrize(
    ("run_seed", "env", "stream", "seeds"),
    [
        (0, 0, "episodes", [238126281, 543215367, 1987815382, 960668737, 767118435]),
        (0, 0, "evaluation", [1105986917, 1602300760, 544895509, 1279715002, 1238933340]),
        (0, 7, "episodes", [1873315981, 741397658, 2096830607, 461558339, 591097192]),
        (1, 0, "episodes", [1466754944, 1889202809, 1502271612, 772165302, 322615017]),
        (1, 7, "evaluation", [1684727760, 1297363103, 482466129, 2026832790, 98897218]),
        (
            12345678901234567890,
            0,
            "episodes",
            [1416749560, 694039476, 1419342926, 1269025694, 1877956533],
        ),
    ],
)
def test_episode_seeds_stay_what_they_are(run_seed, env, stream, seeds):
    of_env = EpisodeSeeds(run_seed, env, stream)
    assert [of_env[episode] for episode in (0, 1, 63, 64, 1000)] == seeds


@pytest.mark.parametrize(
    ("run_seed", "key", "draws"),
    [
        (0, ("actions", 0, 0), [1243955231, 1332448806, 3123013243]),
        (0, ("actions", 3, 17), [4043136475, 147386309, 1287186012]),
        (42, ("minibatches", 5), [2314628837, 2681697811, 3613755685]),
        (42, ("weights",), [4102357987, 75451846, 3509154210]),
        (1, ("curriculum", 2, 3), [2852714445, 2226657953, 956581749]),
        (9, ("probe",), [1283939684, 3134109183, 1132532902]),
    ],
)
def test_generators_stay_what_they_are(run_seed, key, draws):
    assert generator(run_seed, *key).integers(2**32, size=3).tolist() == draws


@pytest.mark.parametrize(
    ("distribution", "second_row"),
    [
        (Categorical(3), [-0.34584394, 2.0433402, -0.1677796]),
        (MultiCategorical((2, 2)), [2.0433402, -0.1677796, 0.8904161]),
        (Bernoulli(3), [1.1343043, -1.977843, 0.81673306]),
        (DiagonalGaussian(3), [-0.8503428, 0.5097325, 1.0263658]),
        (StateDependentNoise(1, 3), [-0.8503428, 0.5097325, 1.0263658]),
    ],
)
def test_action_noise_stays_what_it_is(distribution, second_row):
    noise = distribution.noise(generator(42, "actions", 1, 2), 2)
    assert noise.dtype == np.float32
    assert noise.shape == (2, *distribution.noise_shape)
    np.testing.assert_allclose(noise.reshape(2, -1)[1, :3], second_row, rtol=1e-6)


def test_any_name_is_a_stream_of_its_own():
    """What a name that is not in the table gives is part of the format as well."""
    assert generator(1, "exploration", 3).integers(2**32, size=3).tolist() == [2814749841, 2555309577, 2061345714]
    draws = {name: tuple(generator(1, name, 3).integers(2**32, size=4)) for name in ("exploration", "actions", "x", "")}
    assert len(set(draws.values())) == 4


def test_seeds_do_not_depend_on_the_order_they_are_asked_in():
    straight, jumping = EpisodeSeeds(5, 2), EpisodeSeeds(5, 2)
    in_order = [straight[episode] for episode in range(3 * SEED_BLOCK)]
    order = np.random.default_rng(0).permutation(3 * SEED_BLOCK)
    assert [jumping[int(episode)] for episode in order] == [in_order[episode] for episode in order]


def test_seeds_of_run_environment_episode_and_stream_all_differ():
    seeds = [
        EpisodeSeeds(run, env, stream)[episode]
        for run, env, stream, episode in itertools.product(
            range(4), range(8), ("episodes", "evaluation", "probe"), range(130)
        )
    ]
    assert all(0 <= seed < 2**31 for seed in seeds)
    # 12,480 draws from 2**31: 0.036 pairs are expected to be equal by chance
    assert len(set(seeds)) == len(seeds)


def test_streams_are_uncorrelated():
    keys = itertools.product((0, 1), ("actions", "minibatches"), (0, 1), (0, 1))
    draws = np.stack([generator(run, stream, a, b).random(4000) for run, stream, a, b in keys])
    correlation = np.corrcoef(draws) - np.eye(len(draws))
    assert np.abs(correlation).max() < 5 / np.sqrt(4000)
    assert abs(draws.mean() - 0.5) < 0.005


def test_seeds_are_spread_over_their_range():
    seeds = EpisodeSeeds(0, 0)
    share = np.array([seeds[episode] for episode in range(4000)]) / 2**31
    counts, _ = np.histogram(share, bins=20, range=(0, 1))
    chi_square = ((counts - 200.0) ** 2 / 200.0).sum()
    assert chi_square < 43.8  # 99.9% of chi-square with 19 degrees of freedom
