"""Streams of GPUs: kept once they are in use, and never asked for before."""

from __future__ import annotations

import pytest
import torch

from lit_rl.state.streams import capture_streams


def test_cuda_is_not_begun_to_be_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """Asking a device for its stream takes memory of it, also in a run on the CPU."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: False)
    monkeypatch.setattr(torch.cuda, "get_rng_state_all", lambda: pytest.fail("asked for"))
    assert "cuda" not in capture_streams()
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_rng_state_all", lambda: [torch.zeros(16, dtype=torch.uint8)])
    assert len(capture_streams()["cuda"]) == 1
