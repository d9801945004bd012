"""Tensor files load only when every tensor lies in bytes that are there, and nothing in them calls
anything.
"""

from __future__ import annotations

import collections
import contextlib
import io
import pickle
import zipfile
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lit_rl.errors import DataError
from lit_rl.untrusted.tensors import NumpyValues, load_tensors
from tests.interop.hostile import Touch, evil_pickle


def saved(value: object, legacy: bool = False) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer, _use_new_zipfile_serialization=not legacy)
    return buffer.getvalue()


def with_pickle(data: bytes, change: object) -> bytes:
    """The tensor file with its pickle changed."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(buffer, "w") as new:
        for name in old.namelist():
            content = old.read(name)
            new.writestr(name, change(content) if name.endswith("/data.pkl") else content)  # type: ignore[operator]
    return buffer.getvalue()


STATE = {
    "weight": torch.arange(6.0).reshape(2, 3).T,
    "half": torch.ones(3, dtype=torch.float16),
    "flag": torch.tensor(True),
    "count": torch.tensor(3),
    "empty": torch.zeros(0, 4),
}


@pytest.mark.parametrize("legacy", [False, True])
def test_what_torch_saves(legacy: bool) -> None:
    loaded = load_tensors(saved(STATE, legacy), "policy.pth")
    assert loaded.keys() == STATE.keys()
    assert all(torch.equal(loaded[k], t) and loaded[k].dtype == t.dtype for k, t in STATE.items())


def test_modules_and_optimizers() -> None:
    net = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.BatchNorm1d(3))
    for optimizer in (
        torch.optim.Adam(net.parameters()),
        torch.optim.RMSprop(net.parameters(), momentum=0.1),
    ):
        net(torch.ones(4, 2)).sum().backward()
        optimizer.step()
        assert (
            load_tensors(saved(optimizer.state_dict()), "x")["param_groups"] == optimizer.state_dict()["param_groups"]
        )
    assert load_tensors(saved(net.state_dict()), "x").keys() == net.state_dict().keys()
    assert torch.equal(load_tensors(saved({"p": net[0].weight}), "x")["p"], net[0].weight)


@pytest.mark.parametrize("legacy", [False, True])
def test_a_file_that_runs_code(marker: Path, legacy: bool) -> None:
    data = saved({"weight": torch.ones(2), "evil": Touch(marker)}, legacy)
    with pytest.raises(DataError, match=r"^policy.pth: refused to import '_?io.open'"):
        load_tensors(data, "policy.pth")
    with pytest.raises(DataError, match=r"^policy.pth"):
        load_tensors(evil_pickle(marker), "policy.pth")


@pytest.mark.parametrize(
    "name",
    [
        "builtins bytearray",
        "builtins set",
        "collections Counter",
        "torch._utils _rebuild_sparse_tensor",
        "torch Tensor",
    ],
)
def test_calls_that_weights_only_would_allow(name: str) -> None:
    """PyTorch's own list is longer than tensors need; some of it makes memory out of nothing."""
    module, attribute = name.split()
    hostile = f"c{module}\n{attribute}\n".encode() + b"J\xff\xff\xff\x7f\x85R."
    with pytest.raises(DataError, match="refused to import"):
        load_tensors(with_pickle(saved(STATE), lambda _: b"\x80\x02" + hostile), "policy.pth")


def test_a_tensor_larger_than_its_bytes() -> None:
    """A million million elements over twenty-four bytes, by stride 0 or by a lie about the storage."""
    data = saved({"weight": torch.arange(6.0)})
    shape = pickle.dumps((6,), protocol=2)[2:-3]  # K\x06\x85
    assert shape == b"K\x06\x85"
    for old, new in (
        (b"K\x06\x85", b"\x8a\x06" + (10**12).to_bytes(6, "little") + b"\x85"),
        (b"K\x00K\x06", b"K\x05K\x06"),
    ):
        with pytest.raises(DataError, match="does not lie inside"):
            load_tensors(with_pickle(data, lambda raw, o=old, n=new: raw.replace(o, n, 1)), "policy.pth")
    whole = saved({"weight": torch.arange(200.0)})
    legacy = saved({"weight": torch.arange(200.0)}, legacy=True)
    for lie in (
        with_pickle(whole, lambda raw: raw.replace(b"K\xc8t", b"M\xc8\x7ft", 1)),
        legacy.replace(b"K\xc8Nt", b"M\xc8\x7fNt", 1),
    ):
        assert lie not in (whole, legacy)
        with pytest.raises(DataError, match="storage"):
            load_tensors(lie, "policy.pth")


def test_compressed_inner_zip_is_refused() -> None:
    buffer = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(saved(STATE))) as old,
        zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as new,
    ):
        for name in old.namelist():
            new.writestr(name, old.read(name))
    with pytest.raises(DataError, match="method 8"):
        load_tensors(buffer.getvalue(), "policy.pth")


def test_numpy_numbers_are_named_not_loaded() -> None:
    numpy = pytest.importorskip("numpy")
    loaded = load_tensors(saved({"lr": numpy.float64(0.1), "w": torch.ones(2)}), "x")
    assert isinstance(loaded, NumpyValues)
    assert any(name.endswith("scalar") for name in loaded.names)


def test_other_content() -> None:
    for data in (b"", b"PK", saved(collections.deque([1])), saved(torch.nn.Linear(1, 1)), b"\x80\x02N."):
        with pytest.raises(DataError):
            load_tensors(data, "x")
    for legacy in (False, True):
        whole = saved(STATE, legacy)
        for cut in range(0, len(whole) - 1, 97):
            with pytest.raises(DataError):
                load_tensors(whole[:cut], "x")


@settings(max_examples=200, deadline=None)
@given(position=st.integers(0, 5000), value=st.integers(0, 255), legacy=st.booleans())
def test_a_changed_byte_of_the_pickle(position: int, value: int, legacy: bool) -> None:
    """Refused, or read as tensors that can be looked at; never a crash."""

    def change(raw: bytes) -> bytes:
        at = position % min(len(raw), 900)
        return raw[:at] + bytes([value]) + raw[at + 1 :]

    data = saved(STATE, legacy)
    with contextlib.suppress(DataError):
        loaded = load_tensors(change(data) if legacy else with_pickle(data, change), "policy.pth")
        tensors = loaded.values() if isinstance(loaded, dict) else [loaded]
        assert sum(t.double().sum().item() for t in tensors if isinstance(t, torch.Tensor)) is not None
