"""What was measured of a peer, as a verdict and a few words for each property."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from resume_peers.experiment import HALF, LEARNING_RATE, ROLLOUT

GOOD, PARTLY, BAD, NONE = "good", "partly", "bad", "none"
PROPERTIES = {
    "deterministic": "two straight runs, same seed",
    "weights": "final weights, stopped half way against straight",
    "learning_rate": "learning rate after loading, against straight",
    "counter": "timestep counter after loading",
    "moments": "normalisation statistics",
    "environments": "episodes in flight",
    "streams": "random streams",
    "episodes": "statistics of finished episodes",
    "killed": "kill -9, then the same command",
    "stopped": "SIGTERM",
    "cut": "checkpoint cut in half",
    "flipped": "one bit of a weight flipped",
}


class Verdict(NamedTuple):
    """`grade` is one of good, partly, bad, none; `text` is what was measured."""

    grade: str
    text: str


def judge(found: Mapping[str, Any], again: str) -> dict[str, Verdict]:
    """Verdicts by property.

    Args:
        found: what `experiment.measure` gave.
        again: what a user of the peer types to go on.
    """
    straight, resumed = found["straight"], found["resumed"]
    next_one = HALF // ROLLOUT  # the straight run's update that the first one after loading stands for
    verdicts = {"deterministic": _deterministic(found["deterministic"])}
    verdicts["weights"] = _weights(resumed)
    if resumed["begin"] is None or not resumed["updates"]:
        unknown = Verdict(BAD, "did not go on")
        verdicts |= dict.fromkeys(("learning_rate", "counter", "moments", "environments", "streams"), unknown)
        verdicts["episodes"] = unknown
    else:
        there, here = straight["updates"][next_one], resumed["updates"][0]
        verdicts["learning_rate"] = _learning_rate(straight["updates"][next_one:], resumed["updates"])
        verdicts["counter"] = _counter(resumed["begin"]["timesteps"])
        # Some libraries take a rollout into the moments while it is played, others in its update.
        around = [straight["updates"][at]["moments"] for at in (next_one - 1, next_one)]
        verdicts["moments"] = _moments(around, resumed["begin"]["moments"])
        verdicts["environments"] = _environments(there, here)
        verdicts["streams"] = _streams(straight["updates"][0], there, here)
        verdicts["episodes"] = _episodes(resumed["begin"]["episodes"])
    verdicts["killed"] = _killed(found["killed"], again)
    verdicts["stopped"] = _stopped(found["stopped"])
    verdicts |= {name: _damaged(found[name]) for name in ("cut", "flipped")}
    return verdicts


def _deterministic(distance: float | None) -> Verdict:
    if distance is None:
        return Verdict(BAD, "did not end")
    return Verdict(GOOD, "equal") if distance == 0 else Verdict(BAD, f"not deterministic: off by {distance:.2g}")


def _weights(resumed: Mapping[str, Any]) -> Verdict:
    distance = resumed["distance"]
    if distance is None:
        return Verdict(BAD, "did not end")
    return Verdict(GOOD, "equal, bit for bit") if distance == 0 else Verdict(BAD, f"off by {distance:.2g}")


def _learning_rate(there: list[dict[str, Any]], here: list[dict[str, Any]]) -> Verdict:
    """Of the first update and of the last."""
    texts = []
    for name, at in (("first", 0), ("last", -1)):
        should, found = there[at]["learning_rate"], here[at]["learning_rate"]
        if abs(found - should) > 1e-6 * LEARNING_RATE:
            texts.append(f"{name} update {found:.2g}, not {should:.2g}")
    return Verdict(BAD, "; ".join(texts)) if texts else Verdict(GOOD, "equal")


def _counter(timesteps: int) -> Verdict:
    return Verdict(GOOD if timesteps == HALF else BAD, f"{timesteps:,} of {HALF:,}")


def _moments(there: list[list[float] | None], here: list[float] | None) -> Verdict:
    if there[0] is None or there[1] is None:
        return Verdict(NONE, "has none of its own")
    if here in there:
        return Verdict(GOOD, "equal")
    off = max(abs(a - b) for a, b in zip(there[0], here or [0.0] * len(there[0]), strict=True))
    far = max(abs(each) for each in there[0])
    return Verdict(PARTLY, f"kept, off by {off / far:.1%}") if off <= 0.1 * far else Verdict(BAD, "lost")


def _environments(there: Mapping[str, Any], here: Mapping[str, Any]) -> Verdict:
    return Verdict(GOOD, "go on") if here["obs"] == there["obs"] else Verdict(BAD, "lost: new episodes")


def _streams(first: Mapping[str, Any], there: Mapping[str, Any], here: Mapping[str, Any]) -> Verdict:
    """Of each stream: where it should be, where the run's very first rollout left it, or anywhere."""
    if here["streams"] == there["streams"]:
        return Verdict(GOOD, "go on")
    each = zip(here["streams"], first["streams"], there["streams"], strict=True)
    if any(now == then != should for now, then, should in each):
        return Verdict(BAD, "begin again: the run's first numbers come twice")
    return Verdict(BAD, "lost")


def _episodes(count: int | None) -> Verdict:
    if count is None:
        return Verdict(NONE, "keeps none")
    return Verdict(GOOD, "kept") if count > 0 else Verdict(BAD, "lost")


def _lost(struck: Mapping[str, Any]) -> str:
    return f"{struck['reached'] - struck['newest']:,} timesteps lost"


def _killed(struck: Mapping[str, Any], again: str) -> Verdict:
    begin = struck["again"]["begin"]
    if begin is not None and begin["timesteps"] > 0:
        return Verdict(GOOD, f"goes on, {_lost(struck)}")
    on = struck["on"]["begin"]
    if on is None or not struck["on"]["updates"]:
        return Verdict(BAD, "begins anew; cannot go on")
    return Verdict(PARTLY, f"begins anew; with {again}: {_lost(struck)}")


def _stopped(struck: Mapping[str, Any]) -> Verdict:
    saved = struck["newest"] >= struck["reached"]
    text = f"{'saved' if saved else 'not saved'}, exit code {struck['code']}, {_lost(struck)}"
    return Verdict(GOOD if saved else BAD, text)


def _damaged(facts: Mapping[str, Any]) -> Verdict:
    begin = facts["begin"]
    if begin is None or not facts["updates"]:
        return Verdict(PARTLY, "refused by a traceback") if facts["traceback"] else Verdict(GOOD, "refused in a line")
    if 0 < begin["timesteps"] < HALF:
        said = "named" if facts["named"] else "not named"
        return Verdict(GOOD if facts["named"] else BAD, f"{said}; goes on from {begin['timesteps']:,}")
    if facts["distance"] == 0:
        return Verdict(NONE, "loaded; this file has no effect")
    return Verdict(BAD, "loaded without a word")
