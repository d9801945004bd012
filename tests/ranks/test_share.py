"""How environments and the work of an update are dealt out."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lit_rl.envs.config import NormalizeConfig
from lit_rl.envs.normalize import Normalizer
from lit_rl.errors import ConfigError, DataError, StorageError
from lit_rl.ops.moments import merge_moments, update_moments
from lit_rl.ranks.group import PeerFailed, Ranks, caused_by
from lit_rl.ranks.share import rows_of
from lit_rl.state.deal import deal
from lit_rl.training.sharing import InPieces, Whole, check_pieces, flatten_gradient, share, spread_gradient


def one_of(size: int, rank: int) -> Ranks:
    """A rank that knows its place and has nobody to talk to."""
    ranks = Ranks()
    ranks.rank, ranks.size = rank, size
    return ranks


def test_environments_are_dealt_out_in_order_and_whole():
    assert [list(rows_of(rank, 3, 6)) for rank in range(3)] == [[0, 1], [2, 3], [4, 5]]


@pytest.mark.parametrize(("n_envs", "size", "good"), [(5, 2, "4 and 6"), (1, 4, "are 4"), (9, 4, "8 and 12")])
def test_an_uneven_share_names_the_nearest_good_numbers(n_envs: int, size: int, good: str):
    with pytest.raises(ConfigError, match=f"env.n_envs is {n_envs}.*{good}"):
        rows_of(0, size, n_envs)


@pytest.mark.parametrize("pieces", [None, 4])
@pytest.mark.parametrize("size", [1, 2, 4])
def test_every_transition_of_a_minibatch_is_computed_once(size: int, pieces: int | None):
    n_envs, steps = 8, 5
    chunk = np.random.default_rng(0).permutation(steps * n_envs)[:23]
    where, envs_of_piece = [], []
    for rank in range(size):
        sharing = InPieces(one_of(size, rank), n_envs, pieces)
        own = n_envs // size
        for at, local in sharing._own_of(chunk):
            where += at.tolist()
            time, row = np.divmod(local, own)
            np.testing.assert_array_equal(time * n_envs + row + rank * own, chunk[at])
            envs_of_piece.append(set((row + rank * own).tolist()))
    assert sorted(where) == list(range(23))
    if pieces is not None:  # the same groups, whatever the number of ranks
        assert [{env // 2 for env in envs} for envs in envs_of_piece] == [{0}, {1}, {2}, {3}]


def test_one_process_without_fixed_pieces_computes_whole_minibatches():
    assert isinstance(share(Ranks(), 8, None), Whole)
    assert isinstance(share(Ranks(), 8, 4), InPieces)
    assert isinstance(share(one_of(2, 0), 8, None), InPieces)


def test_pieces_are_added_in_their_order():
    sharing = InPieces(Ranks(), 4, 4)
    rows = torch.tensor([[1.0], [1e8], [-1e8], [1.0]])
    expected = ((rows[0] + rows[1]) + rows[2]) + rows[3]
    assert torch.equal(sharing.total(rows.unbind()), expected)
    assert float(expected) == 1.0, "another order would give another sum"


def test_a_gradient_goes_into_one_row_and_back():
    parameters = [torch.nn.Parameter(torch.zeros(2, 3)), torch.nn.Parameter(torch.zeros(4))]
    parameters[0].grad = torch.arange(6.0).view(2, 3)
    row = flatten_gradient(parameters, torch.tensor([7.0, 8.0]))
    assert row.tolist() == [0, 1, 2, 3, 4, 5, 0, 0, 0, 0, 7, 8]
    assert spread_gradient(row * 2, parameters).tolist() == [14, 16]
    assert parameters[0].grad.tolist() == [[0, 2, 4], [6, 8, 10]]


@pytest.mark.parametrize(
    ("pieces", "size", "n_envs", "text"),
    [(3, 1, 8, "use one of 1, 2, 4, 8"), (4, 8, 8, "use a multiple of 8"), (2, 4, 8, "use a multiple of 4")],
)
def test_pieces_that_do_not_fit_are_refused(pieces: int, size: int, n_envs: int, text: str):
    with pytest.raises(ConfigError, match=text):
        check_pieces(pieces, one_of(size, 0), n_envs)


# -- moments ---------------------------------------------------------------------------------------------------------


def test_merged_moments_are_those_of_all_samples():
    samples = np.random.default_rng(1).normal(3.0, 2.0, (60, 4))
    parts = [samples[:7], samples[7:50], samples[50:]]
    merged = [np.zeros(4), np.zeros(4), np.array(0.0)]
    for part in parts:
        merge_moments(*merged, part.mean(axis=0), part.var(axis=0), np.array(float(len(part))))
    np.testing.assert_allclose(merged[0], samples.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(merged[1], samples.var(axis=0), rtol=1e-12)
    assert float(merged[2]) == 60


def test_ranks_come_to_the_same_moments_to_the_bit():
    """Each sees its own environments; after a merge all agree, near to what one process sees step by step."""
    from gymnasium import spaces

    space = spaces.Box(-10, 10, (3,), np.float32)
    config = NormalizeConfig(obs=True)
    steps = np.random.default_rng(2).normal(1.0, 2.0, (20, 4, 3)).astype(np.float32)
    apart = [Normalizer(config, space, 0.99, 2) for _ in range(2)]
    together = Normalizer(config, space, 0.99, 4)
    for _ in range(2):  # two rollouts
        for normalizer in apart:
            normalizer.begin_own()
        for step in steps:
            together.update_obs(step)
            apart[0].update_obs(step[:2])
            apart[1].update_obs(step[2:])
        assert not torch.equal(apart[0].obs["obs"].mean, apart[1].obs["obs"].mean)
        told = [normalizer.own for normalizer in apart]
        for normalizer in apart:
            normalizer.merge(told)
    for name in ("mean", "var", "count"):
        ours = [getattr(normalizer.obs["obs"], name) for normalizer in apart]
        assert torch.equal(*ours)
        torch.testing.assert_close(ours[0], getattr(together.obs["obs"], name), rtol=1e-6, atol=1e-6)


def test_moments_that_see_every_step_of_all_ranks_are_those_of_one_process():
    from gymnasium import spaces

    space = spaces.Box(-10, 10, (3,), np.float32)
    config = NormalizeConfig(obs=True, reward=True)
    rng = np.random.default_rng(3)
    steps, rewards = rng.normal(size=(9, 4, 3)).astype(np.float32), rng.normal(size=(9, 4))
    done = rng.random((9, 4)) < 0.2
    one = Normalizer(config, space, 0.9, 4)
    rest: dict[str, np.ndarray] = {}
    half = Normalizer(config, space, 0.9, 2, gather=lambda own: np.concatenate([own, rest["now"]]), in_step=True)
    for step in steps:
        rest["now"] = step[2:]
        half.update_obs(step[:2])
        one.update_obs(step)
    returns, discounted = np.zeros(4), []
    for reward, over in zip(rewards, done, strict=True):
        returns = returns * 0.9 + reward
        discounted.append(returns.copy())
        returns[over] = 0.0
    rest["now"] = np.array(discounted).T[2:]
    np.testing.assert_array_equal(
        half.scale_rewards(rewards[:, :2], done[:, :2]), one.scale_rewards(rewards, done)[:, :2]
    )
    for name, tensor in one.state_dict().items():
        assert torch.equal(half.state_dict()[name], tensor), name


def test_updating_is_merging_a_batch():
    batch = np.random.default_rng(4).normal(size=(5, 2))
    a = [np.zeros(2), np.ones(2), np.array(1e-4)]
    b = [part.copy() for part in a]
    update_moments(*a, batch)
    merge_moments(*b, batch.mean(axis=0), batch.var(axis=0), np.array(5.0))
    for ours, theirs in zip(a, b, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-14)


# -- a checkpoint of another number of ranks --------------------------------------------------------------------------


def _written(size: int, n_envs: int) -> list[dict]:
    share = n_envs // size
    return [
        {
            "environments": {
                "grade": "exact",
                "offset": rank * share,
                "slots": [{"first_episode": env} for env in range(rank * share, (rank + 1) * share)],
                "returns": torch.arange(rank * share, (rank + 1) * share, dtype=torch.float64),
            },
            "streams": {"of": rank},
        }
        for rank in range(size)
    ]


@pytest.mark.parametrize(("before", "after"), [(1, 2), (2, 1), (4, 2), (2, 4), (4, 1)])
def test_environments_keep_their_index_through_another_number_of_ranks(before: int, after: int):
    states = _written(before, 8)
    dealt = [deal(states, rank, rows_of(rank, after, 8)) for rank in range(after)]
    assert [slot["first_episode"] for state in dealt for slot in state["environments"]["slots"]] == list(range(8))
    assert [float(r) for state in dealt for r in state["environments"]["returns"]] == list(range(8))
    assert [state["environments"]["offset"] for state in dealt] == [rows_of(r, after, 8).start for r in range(after)]
    assert [state["streams"]["of"] for state in dealt] == [rank % before for rank in range(after)]


def test_environments_that_a_checkpoint_lacks_have_an_empty_state():
    own = deal(_written(2, 4), 1, rows_of(1, 2, 8))["environments"]
    assert own["slots"] == [{}] * 4
    assert own["returns"].tolist() == [0.0] * 4


def test_an_error_of_a_peer_has_its_kind():
    peer = PeerFailed("rank 1: cannot write")
    peer.kind = StorageError
    assert caused_by(peer, StorageError)
    assert caused_by(StorageError("x"), StorageError)
    assert not caused_by(peer, DataError)
