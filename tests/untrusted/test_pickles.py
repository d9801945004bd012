"""Pickles are read as records: every opcode that imports or calls makes a record or is refused by name."""

from __future__ import annotations

import collections
import io
import pickle
import pickletools
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lit_rl.errors import DataError
from lit_rl.untrusted.pickles import Global, Made, parse
from tests.interop.hostile import evil_pickle

NOTHING: frozenset[str] = frozenset()

# Every opcode with which a pickle reaches out of itself.
HOSTILE = {
    "GLOBAL": b"cos\nsystem\n.",
    "STACK_GLOBAL": b"\x80\x04\x8c\x02os\x8c\x06system\x93.",
    "REDUCE": b"cos\nsystem\n(S'true'\ntR.",
    "INST": b"(S'true'\nios\nsystem\n.",
    "OBJ": b"(cos\nsystem\nS'true'\no.",
    "NEWOBJ": b"\x80\x02cos\nsystem\n)\x81.",
    "NEWOBJ_EX": b"\x80\x04cos\nsystem\n)}\x92.",
    "BUILD": b"cos\nsystem\n}b.",
    "EXT1": b"\x80\x02\x82\x01.",
    "EXT2": b"\x80\x02\x83\x01\x00.",
    "EXT4": b"\x80\x02\x84\x01\x00\x00\x00.",
    "PERSID": b"Pstorage\n.",
    "BINPERSID": b"\x80\x02K\x01Q.",
    "NEXT_BUFFER": b"\x80\x05\x97.",
    "READONLY_BUFFER": b"\x80\x05N\x98.",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_opcodes(name: str) -> None:
    opcodes = [opcode.name for opcode, _, _ in pickletools.genops(HOSTILE[name])]
    assert name in opcodes
    with pytest.raises(DataError, match=r"^stats.pkl: refused .* at byte \d+; nothing was run\.$"):
        parse(io.BytesIO(HOSTILE[name]), NOTHING, "stats.pkl")


@pytest.mark.parametrize("protocol", range(6))
def test_a_pickle_that_runs_code(marker: Path, protocol: int) -> None:
    """The same bytes do make the marker when they are unpickled, and do not when they are parsed."""
    data = evil_pickle(marker, protocol)
    pickle.loads(data).close()
    assert marker.exists()
    marker.unlink()
    with pytest.raises(DataError, match=r"refused"):
        parse(io.BytesIO(data), NOTHING, "stats.pkl")


def test_calls_of_allowed_names_are_records_only(marker: Path) -> None:
    name = next(a for o, a, _ in pickletools.genops(evil_pickle(marker)) if o.name == "GLOBAL").replace(" ", ".")
    parsed = parse(io.BytesIO(evil_pickle(marker)), frozenset({name}), "x")
    assert isinstance(parsed.value, Made)
    assert (parsed.value.name, parsed.value.args) == (name, (str(marker), "w"))


def test_a_record_cannot_be_called_again() -> None:
    """The result of one call as the target of another, and a plain value as a target."""
    for stream in (b"\x80\x02ca\nb\n)R)R.", b"\x80\x02K\x01)R.", b"\x80\x02ca\nb\nNR."):
        with pytest.raises(DataError, match="not a pickle"):
            parse(io.BytesIO(stream), frozenset({"a.b"}), "x")


def test_plain_values() -> None:
    value = {"a": [1, -(2**40), 2.5, None, True, (1, 2, 3, 4), b"x", "é" * 300], 7: {}, "b": ()}
    for protocol in (2, 3, 4, 5):
        allowed = frozenset({"_codecs.encode"})  # how protocol 2 writes bytes
        parsed = parse(io.BytesIO(pickle.dumps(value, protocol)), allowed, "x").value
        assert parsed["b"] == ()
        assert parsed["a"][:6] == value["a"][:6]
    assert parse(io.BytesIO(pickle.dumps(collections.OrderedDict(a=1))), frozenset({"collections.OrderedDict"}), "x")


def test_allowed_names_do_not_open_their_module() -> None:
    with pytest.raises(DataError, match=r"'collections\.deque'"):
        parse(io.BytesIO(pickle.dumps(collections.deque())), frozenset({"collections.OrderedDict"}), "x")


def test_dotted_attributes_do_not_reach_further() -> None:
    stream = b"\x80\x04\x8c\x05numpy\x8c\x13ndarray.__class__.x\x93."
    with pytest.raises(DataError, match="refused"):
        parse(io.BytesIO(stream), frozenset({"numpy.ndarray"}), "x")


def test_two_pickles_in_one_stream() -> None:
    stream = io.BytesIO(pickle.dumps(1) + pickle.dumps([2]))
    assert [parse(stream, NOTHING, "x").value, parse(stream, NOTHING, "x").value] == [1, [2]]


@settings(max_examples=200, deadline=None)
@given(data=st.binary(max_size=200))
def test_noise(data: bytes) -> None:
    try:
        value = parse(io.BytesIO(data), frozenset({"a.b"}), "x", persistent=True).value
    except DataError as error:
        text = str(error)
    else:
        text = "" if not isinstance(value, Global) else value.name
    assert "\n" not in text
