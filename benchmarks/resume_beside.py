"""Who goes on exactly: one experiment with lit_rl and its peers, each as its own documentation says.

Each peer trains PPO on CartPole-v1 straight through, and again stopped half way, in a new process from its checkpoint;
it is killed, stopped by SIGTERM, and given a checkpoint that is cut or has a flipped bit. A peer's script is
`resume_peers/with_NAME.py`; it runs in a virtual environment of its own, made in `--venvs` (about 1 GB each).

    python benchmarks/resume_beside.py --out resume                  # all peers, about ten minutes
    python benchmarks/resume_beside.py --out resume --peers lit_rl sb3
    python benchmarks/resume_beside.py --out resume --show           # table and picture of results.json again
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from resume_peers import show
from resume_peers.experiment import Runs, measure
from resume_peers.judge import judge
from resume_peers.peers import PEERS, Peer


def one(name: str, peer: Peer, venvs: Path, scratch: Path) -> dict[str, Any]:
    """A peer's title, version, verdicts, and what they were made of; or why it failed."""
    version = peer.pins[0].split("==")[1] if peer.pins else ""
    found: dict[str, Any] = {"title": peer.title, "version": version, "pins": peer.pins}
    try:
        measured = measure(Runs(name, peer, peer.python(name, venvs), scratch))
    except subprocess.CalledProcessError as error:
        return {**found, "failed": f"cannot be installed: {(error.stderr or '').strip()[-300:]}"}
    except (RuntimeError, KeyError) as error:
        return {**found, "failed": str(error)}
    return {**found, "verdicts": judge(measured, peer.again), "measured": shortened(measured)}


def shortened(measured: dict[str, Any]) -> dict[str, Any]:
    """Without what verdicts do not rest on: of each process its first, middle and last updates, and its last line."""
    if "updates" in measured:
        updates, half = measured["updates"], len(measured["updates"]) // 2
        kept = updates if len(updates) < 4 else [updates[0], updates[half - 1], updates[half], updates[-1]]
        said = re.sub(r"(/[\w.\-]+)+/", "", measured["said"])
        measured = {**measured, "updates": kept, "said": said}
        del measured["output"]
    return {name: shortened(each) if isinstance(each, dict) else each for name, each in measured.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers", nargs="+", choices=PEERS, default=list(PEERS), metavar="NAME", help=", ".join(PEERS))
    parser.add_argument(
        "--venvs", type=Path, default=Path(__file__).parent / ".venvs", help="where peers are installed"
    )
    parser.add_argument("--out", type=Path, required=True, help="directory for results.json, table and picture")
    parser.add_argument("--show", action="store_true", help="measure nothing, show what is there")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    kept = arguments.out / "results.json"
    results: dict[str, Any] = json.loads(kept.read_text()) if kept.exists() else {"peers": {}}
    if not arguments.show:
        with tempfile.TemporaryDirectory() as scratch:
            for name in arguments.peers:
                print(name, file=sys.stderr, flush=True)
                results["peers"][name] = one(name, PEERS[name], arguments.venvs, Path(scratch))
                ordered = {each: results["peers"][each] for each in PEERS if each in results["peers"]}
                results["peers"] = ordered
                kept.write_text(json.dumps(results, indent=1) + "\n")
    text = show.table(results)
    (arguments.out / "resume_beside.md").write_text(text + "\n")
    show.picture(results, arguments.out / "resume_beside.png")
    print(text)
    for each in results["peers"].values():
        if "failed" in each:
            print(f"{each['title']}: {each['failed']}", file=sys.stderr)


if __name__ == "__main__":
    main()
