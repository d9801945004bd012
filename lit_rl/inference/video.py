"""Frames with a caption, as an mp4 that is there whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from lit_rl.checkpoint.files import named, sync, sync_directory
from lit_rl.errors import ConfigError, StorageError

_SMALLEST = 480
"""Pixels across; smaller frames are enlarged by a whole number, so that the caption can be read."""
_LINE = 20
_SCALE = 0.5


class Film:
    """An mp4 that frames are added to; leaving the block puts it in its place, an error leaves nothing.

    Args:
        path: ends with `.mp4`.
        fps: frames per second.

    Raises:
        ConfigError: a package is missing.
    """

    def __init__(self, path: Path, fps: float) -> None:
        try:
            import cv2
            import imageio_ffmpeg
        except ModuleNotFoundError as error:
            raise ConfigError(
                f"--video needs the package {error.name}; install it with `pip install 'lit-rl[video]'`."
            ) from None
        self._cv2, self._ffmpeg = cv2, imageio_ffmpeg
        self._path, self._fps = path, fps
        self._staged = path.with_name(f".{path.stem}.{os.getpid()}.tmp.mp4")
        self._writer: Any = None

    def add(self, frame: np.ndarray | None, caption: Sequence[str]) -> None:
        """Add a frame, uint8 [H, W, 3], under the lines of its caption."""
        assert frame is not None
        picture = captioned(self._cv2, frame, caption)
        try:
            if self._writer is None:
                size = picture.shape[1], picture.shape[0]
                self._writer = self._ffmpeg.write_frames(str(self._staged), size, fps=self._fps, macro_block_size=2)
                self._writer.send(None)
            self._writer.send(picture)
        except OSError as error:
            raise StorageError(f"cannot write {self._path}: {' '.join(str(error).split())[:200]}.") from None

    def __enter__(self) -> Film:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if self._writer is not None:
                self._writer.close()
            if error is None and self._staged.exists():
                with named(self._path):
                    with self._staged.open("rb") as file:
                        sync(file.fileno(), "files")
                    self._staged.replace(self._path)
                sync_directory(self._path.parent)
        finally:
            self._staged.unlink(missing_ok=True)


def captioned(cv2: Any, frame: np.ndarray, caption: Sequence[str]) -> np.ndarray:
    """A frame under a dark band with lines of text; both sides even, as the codec needs."""
    factor = max(-(-_SMALLEST // frame.shape[1]), 1)
    large = frame.repeat(factor, axis=0).repeat(factor, axis=1)
    height, width = large.shape[0] // 2 * 2, large.shape[1] // 2 * 2
    band = np.full((_LINE * len(caption) + 8, width, 3), 24, dtype=np.uint8)
    band = band[: band.shape[0] // 2 * 2]
    for i, line in enumerate(caption):
        across = cv2.getTextSize(line, cv2.FONT_HERSHEY_SIMPLEX, _SCALE, 1)[0][0]
        scale = _SCALE * min(1.0, (width - 16) / max(across, 1))
        place = (8, _LINE * (i + 1) - 3)
        cv2.putText(band, line, place, cv2.FONT_HERSHEY_SIMPLEX, scale, (235, 235, 235), 1, cv2.LINE_AA)
    return np.ascontiguousarray(np.vstack([band, large[:height, :width]]))
