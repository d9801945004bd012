"""Pictures of what a terminal of 80 columns shows, for the docs: docs/images/screen_*.png.

python scripts/screens.py        # with `pip install -c constraints.txt -e '.[dev,docs]'`, about two minutes
"""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import sys
import tempfile
import termios
from pathlib import Path

import pyte
from matplotlib import font_manager
from PIL import Image, ImageDraw, ImageFont

ROOT = Path(__file__).resolve().parents[1]
COLUMNS, ROWS = 80, 24
SIZE, MARGIN = 16, 12
INK, PAPER = "#e6e6e6", "#1c1f24"
LEVELS = """
name: gates
total_timesteps: 100_000
env: {class_path: lit_rl.envs.examples.gates.Gates, n_envs: 32}
model: {class_path: PPO, init_args: {n_steps: 64, batch_size: 256, learning_rate: 1.0e-3, gamma: 0.98}}
eval: {every: 20_000, episodes: 20}
curriculum:
  sample: learnability
  levels:
    - {name: near, env_kwargs: {level: 0}}
    - {name: wide gate, env_kwargs: {level: 1}}
    - {name: gate, env_kwargs: {level: 2}}
    - {name: two wide gates, env_kwargs: {level: 3}}
    - {name: two gates, env_kwargs: {level: 4}}
    - {name: two narrow gates, env_kwargs: {level: 5}}
"""


def shown(command: str, until: str | None = None) -> list[str]:
    """The screen at the end of `lit-rl COMMAND`, or as soon as a line of it matches `until`."""
    screen = pyte.Screen(COLUMNS, ROWS)
    stream = pyte.ByteStream(screen)
    stream.feed(f"$ lit-rl {command}\r\n".encode())
    process, terminal = pty.fork()
    if process == 0:
        os.environ["PYTHONPATH"] = str(ROOT)
        os.execv(sys.executable, [sys.executable, "-m", "lit_rl", *command.split()])
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
    seen: list[str] = []
    while True:
        try:
            sent = os.read(terminal, 4096)
        except OSError:  # it has ended
            break
        stream.feed(sent)
        if until and not seen and any(re.search(until, line) for line in screen.display):
            seen = list(screen.display)
    os.waitpid(process, 0)
    os.close(terminal)
    return "\n".join(line.rstrip() for line in seen or screen.display).rstrip().split("\n")


def picture(name: str, lines: list[str]) -> None:
    """Draw a screen, all of its 80 columns."""
    font = ImageFont.truetype(font_manager.findfont("DejaVu Sans Mono"), SIZE)
    width, height = font.getlength("M"), round(SIZE * 1.3)
    image = Image.new("RGB", (round(COLUMNS * width) + 2 * MARGIN, len(lines) * height + 2 * MARGIN), PAPER)
    draw = ImageDraw.Draw(image)
    for row, line in enumerate(lines):
        for column, letter in enumerate(line):
            draw.text((MARGIN + column * width, MARGIN + row * height), letter, INK, font)
    image.quantize(16).save(ROOT / "docs" / "images" / f"screen_{name}.png", optimize=True)


def main() -> None:
    with tempfile.TemporaryDirectory() as place:
        os.chdir(place)
        shown("init CartPole-v1 --out run.yaml")
        picture("fit", shown("fit --config run.yaml", until=r" [56]\d% \|.*fps"))
        shown("fit --config run.yaml --pause_at 20_000 --seed_everything 1")
        shown("fit --config run.yaml --name another --total_timesteps 20_000 --eval.every 5_000")
        shown(f"fit --config {ROOT}/configs/gates_curriculum.yaml --pause_at 60_000")
        picture("runs", shown("runs"))
        picture("doctor", shown("doctor CartPole-v1"))
        Path("levels.yaml").write_text(LEVELS)
        picture("levels", shown("fit --config levels.yaml --view levels", until=r" [67]\d% \|.*return"))


if __name__ == "__main__":
    main()
