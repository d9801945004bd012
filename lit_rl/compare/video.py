"""A run's video, as a part of a page."""

from __future__ import annotations

import base64
from pathlib import Path

from lit_rl.compare.html import esc, note

MOST_BYTES = 10 << 20


def video_of(directory: Path) -> Path | None:
    """The newest ``.mp4`` in a run directory, or ``<its name>.mp4`` beside it; links are not followed."""
    places = [*directory.glob("*.mp4"), directory.with_name(f"{directory.name}.mp4")]
    found = [place for place in places if place.is_file() and not place.is_symlink()]
    return max(found, key=lambda place: place.stat().st_mtime, default=None)


def video(directory: Path) -> str:
    """The video inside the page, or where it lies if it is too large; empty where there is none."""
    try:
        file = video_of(directory)
        if file is None:
            return ""
        size = file.stat().st_size
        if size > MOST_BYTES:
            return note(f"{file} has {size / 2**20:.0f} MiB, too much for this page.")
        content = base64.b64encode(file.read_bytes()).decode()
    except OSError as error:
        return note(f"the video cannot be read: {error.strerror}.")
    label = esc(f"The policy plays: {file.name}")
    return f'<video controls preload="metadata" aria-label="{label}" src="data:video/mp4;base64,{content}"></video>'
