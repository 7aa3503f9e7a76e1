"""Videos of episodes: uint8 pictures in, an .mp4 or .gif file out. No display is needed."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from functools import lru_cache
from itertools import chain
from pathlib import Path
from typing import Any, NoReturn, TypeAlias

import imageio.v2 as imageio
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from glideslope.storage.atomic_files import replacing

Picture = NDArray[np.uint8]
Colour: TypeAlias = tuple[int, int, int]

_GAP_PIXELS = 4
_PROBE_BYTES = 1 << 20  # more than a full disk can have left
_BLACK = (0, 0, 0)


def write_video(path: Path, frames: Iterable[Picture], fps: float, quality: float = 8) -> None:
    """Write frames to a video, whole or not at all.

    Args:
        path: `.mp4` (H.264, yuv420p: plays in browsers and slides) or `.gif`; its folder must exist.
        frames: uint8 pictures (H, W, 3) RGB or (H, W) grey, all of one shape. Taken one at a time, so a
            generator keeps memory small. Odd sizes are padded by one row or column for the .mp4.
        fps: pictures per second.
        quality: of the .mp4, from 0 to 10; files grow with it.

    Raises:
        ValueError: another suffix, no frames, or a frame of another shape or type.
        OSError: the file can't be written.
    """
    options: dict[str, Any]
    if path.suffix == ".mp4":
        # The size is padded here, so the encoder need not rescale to a multiple of 16.
        options = {"fps": fps, "codec": "libx264", "quality": quality, "macro_block_size": 1, "pixelformat": "yuv420p"}
        options["ffmpeg_log_level"] = "quiet"  # its complaints would go to the screen; see _require_whole
    elif path.suffix == ".gif":
        options = {"duration": 1000.0 / fps, "loop": 0}
    else:
        raise ValueError(f"{path.name}: a video's name ends in .mp4 or .gif")
    pictures = _checked(frames)
    first = next(pictures, None)
    if first is None:
        raise ValueError(f"{path.name}: no frames to write")
    with replacing(path) as temporary:
        writer: Any = imageio.get_writer(temporary, **options)
        count = 0
        # Its own context manager doesn't close it after an error, and the encoder would write on.
        try:
            with closing(writer):
                for picture in chain([first], pictures):
                    writer.append_data(_even(picture))
                    count += 1
        except OSError as error:
            if error.errno is None:  # pages of the encoder's text
                _fail(temporary)
            raise
        if path.suffix == ".mp4":
            _require_whole(temporary, count)


def _require_whole(path: Path, count: int) -> None:
    """Check that a film has `count` frames: the encoder is a process of its own, whose failure imageio passes over.

    Raises:
        OSError: the film is not whole.
    """
    try:
        reader: Any = imageio.get_reader(path)
        with closing(reader):
            if reader.count_frames() == count:
                return
    except (OSError, RuntimeError, ValueError):  # no film at all
        pass
    _fail(path)


def _fail(path: Path) -> NoReturn:
    """Raise the OSError of a write to a film now, as the encoder had one; or one that tells of the encoder."""
    with path.open("ab") as file:
        file.write(bytes(_PROBE_BYTES))
        file.flush()
        os.fsync(file.fileno())
    raise OSError(errno.EIO, "the encoder failed", str(path))


def side_by_side(onboard: Picture, chase: Picture, caption: str = "") -> Picture:
    """Return the drone's own view (h, w), grey, beside one from outside (H, W, 3), RGB, at the height of the latter.

    The onboard view is enlarged without smoothing: each of its pixels stays visible. The caption, if any, is one line
    of text in a strip below: (H + strip, round(w * H / h) + gap + W, 3) uint8.
    """
    height, width = chase.shape[:2]
    rows = np.arange(height) * onboard.shape[0] // height
    onboard_width = round(onboard.shape[1] * height / onboard.shape[0])
    columns = np.arange(onboard_width) * onboard.shape[1] // onboard_width
    picture = np.zeros((height, onboard_width + _GAP_PIXELS + width, 3), np.uint8)
    picture[:, :onboard_width] = onboard[rows[:, None], columns, None]
    picture[:, onboard_width + _GAP_PIXELS :] = chase
    if not caption:
        return picture
    return np.concatenate([picture, _strip(caption, picture.shape[1], max(10, height // 24))])


def tile(view: Picture, caption: str, colour: Colour = _BLACK, inset: Picture | None = None) -> Picture:
    """Return a view (H, W, 3) RGB for a grid: its caption in a strip of this colour below, (H + strip, W, 3) uint8.

    The inset (h, w), grey uint8, is drawn in the upper right corner, a third as high as the view.
    """
    height, width = view.shape[:2]
    picture = view.copy()
    if inset is not None:
        size = (round(inset.shape[1] * (height // 3) / inset.shape[0]), height // 3)
        small = np.asarray(Image.fromarray(inset).resize(size, Image.Resampling.BILINEAR))
        picture[: size[1] + 2, width - size[0] - 2 :] = 255
        picture[: size[1], width - size[0] :] = small[..., None]
    return np.concatenate([picture, _strip(caption, width, max(10, height // 18), colour)])


def grid(rows: Sequence[tuple[str, Sequence[Picture]]]) -> Picture:
    """Return pictures of one size (H, W, 3) in rows, each below a heading; a shorter row is filled up with black."""
    columns = max(len(pictures) for _, pictures in rows)
    height, width = rows[0][1][0].shape[:2]
    total = columns * (width + _GAP_PIXELS) - _GAP_PIXELS
    parts = []
    for heading, pictures in rows:
        row = np.zeros((height, total, 3), np.uint8)
        for column, picture in enumerate(pictures):
            left = column * (width + _GAP_PIXELS)
            row[:, left : left + width] = picture
        parts += [_strip(heading, total, max(10, height // 18)), row]
    return np.concatenate(parts)


@lru_cache(maxsize=256)
def _strip(caption: str, width: int, size: int, colour: Colour = _BLACK) -> Picture:
    """Return a line of text in letters of ``size`` pixels."""
    image = Image.new("RGB", (width, round(1.8 * size)), colour)
    ImageDraw.Draw(image).text((size // 2, 0.9 * size), caption, anchor="lm", font=ImageFont.load_default(size))
    return np.asarray(image, np.uint8)


def _checked(frames: Iterable[Picture]) -> Iterator[Picture]:
    shape: tuple[int, ...] | None = None
    for index, frame in enumerate(frames):
        picture = np.asarray(frame)
        shape = shape or picture.shape
        known = picture.ndim == 2 or (picture.ndim == 3 and picture.shape[2] == 3)
        if picture.dtype != np.uint8 or not known or picture.shape != shape:
            raise ValueError(
                f"frame {index} is {picture.dtype} {picture.shape}: expected uint8 (H, W) or (H, W, 3), all alike"
            )
        yield picture


def _even(picture: Picture) -> Picture:
    height, width = picture.shape[:2]
    if picture.ndim == 2:
        picture = np.repeat(picture[..., None], 3, axis=2)
    # Chroma is stored at half resolution, so H.264 wants even sizes; the edge is repeated.
    return np.pad(picture, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
