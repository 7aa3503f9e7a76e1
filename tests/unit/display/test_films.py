"""Videos are read back and compared with what was written."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import imageio.v2 as imageio
import numpy as np
import pytest

from glideslope.display.films import Picture, grid, side_by_side, tile, write_video


def moving_square(count: int, height: int, width: int) -> Iterator[Picture]:
    for index in range(count):
        frame = np.full((height, width, 3), 30, np.uint8)
        frame[8:24, 4 * index : 4 * index + 16] = (200, 120, 40)
        yield frame


@pytest.mark.parametrize(("size", "stored"), [((48, 64), (48, 64)), ((47, 61), (48, 62))])
def test_an_mp4_holds_the_frames_that_were_written(
    tmp_path: Path, size: tuple[int, int], stored: tuple[int, int]
) -> None:
    path = tmp_path / "episode.mp4"
    write_video(path, moving_square(8, *size), fps=6)
    assert list(tmp_path.iterdir()) == [path]
    with imageio.get_reader(path) as reader:
        meta = reader.get_meta_data()
        frames = [frame for frame in reader]  # noqa: C416, RUF100 (its length is not known in advance)
    assert (meta["codec"], meta["fps"], meta["pix_fmt"].split("(")[0]) == ("h264", 6.0, "yuv420p")
    assert len(frames) == 8
    for index, (frame, original) in enumerate(zip(frames, moving_square(8, *size), strict=True)):
        assert frame.shape == (*stored, 3)
        error = np.abs(frame[: size[0], : size[1]].astype(int) - original)
        assert error.mean() < 6, f"frame {index}"


def test_a_gif_of_grey_frames(tmp_path: Path) -> None:
    path = tmp_path / "episode.gif"
    frames = [np.full((20, 30), 60 * index, np.uint8) for index in range(4)]
    write_video(path, frames, fps=10)
    with imageio.get_reader(path) as reader:
        read = list(reader)
        assert reader.get_meta_data()["duration"] == 100
    assert [int(frame[..., 0].mean()) for frame in read] == [0, 60, 120, 180]


@pytest.mark.parametrize(
    ("frames", "message"),
    [
        ([], "no frames"),
        ([np.zeros((8, 8, 3), np.float32)], "frame 0 is float32"),
        ([np.zeros((8, 8, 4), np.uint8)], r"frame 0 is uint8 \(8, 8, 4\)"),
        ([np.zeros((8, 8), np.uint8), np.zeros((8, 9), np.uint8)], r"frame 1 is uint8 \(8, 9\)"),
    ],
)
def test_wrong_frames_are_refused_and_leave_no_file(tmp_path: Path, frames: list[Picture], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        write_video(tmp_path / "episode.mp4", frames, fps=6)
    assert not list(tmp_path.iterdir())


def test_another_suffix_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"episode\.avi: a video's name ends in \.mp4 or \.gif"):
        write_video(tmp_path / "episode.avi", moving_square(2, 32, 32), fps=6)


def test_the_onboard_view_is_enlarged_pixel_by_pixel_beside_the_chase_view() -> None:
    onboard = np.arange(12, dtype=np.uint8).reshape(3, 4) * 20
    chase = np.full((9, 15, 3), (1, 2, 3), np.uint8)
    picture = side_by_side(onboard, chase)
    assert picture.shape == (9, 12 + 4 + 15, 3)
    np.testing.assert_array_equal(picture[:, :12, 1], np.kron(onboard, np.ones((3, 3), np.uint8)))
    np.testing.assert_array_equal(picture[:, 16:], chase)
    assert not picture[:, 12:16].any()


def test_a_size_that_is_no_multiple_keeps_every_pixel() -> None:
    onboard = np.arange(84 * 84).reshape(84, 84).astype(np.uint8)
    picture = side_by_side(onboard, np.zeros((200, 300, 3), np.uint8))
    assert picture.shape == (200, 200 + 4 + 300, 3)
    assert (picture[0, 0, 0], picture[199, 199, 0]) == (onboard[0, 0], onboard[-1, -1])


def test_a_caption_goes_below_the_views() -> None:
    onboard, chase = np.zeros((84, 84), np.uint8), np.zeros((240, 320, 3), np.uint8)
    plain, captioned = side_by_side(onboard, chase), side_by_side(onboard, chase, "landed, t = 12.5 s")
    np.testing.assert_array_equal(captioned[:240], plain)
    assert captioned.shape == (258, plain.shape[1], 3)
    assert captioned[240:].max() > 200


def test_a_tile_holds_its_view_with_another_in_the_corner() -> None:
    view = np.full((90, 120, 3), (1, 2, 3), np.uint8)
    plain = tile(view, "crashed", (170, 60, 0))
    np.testing.assert_array_equal(plain[:90], view)
    assert plain.shape == (90 + 18, 120, 3)
    assert (plain[-1, -1] == (170, 60, 0)).all()
    assert (plain[90:, :, 2] > 150).any()  # the caption

    onboard = np.full((12, 12), 80, np.uint8)
    inset = tile(view, "crashed", (170, 60, 0), onboard)
    assert (inset[:30, 90:] == 80).all()
    assert (inset[30:32, 88:] == 255).all()
    assert (inset[:32, 88:90] == 255).all()
    inset[:32, 88:] = plain[:32, 88:]
    np.testing.assert_array_equal(inset, plain)
    assert (view == (1, 2, 3)).all()


def test_a_grid_puts_rows_below_headings_and_fills_up_with_black() -> None:
    red, green, blue = (np.full((36, 50, 3), color, np.uint8) for color in np.eye(3) * 255)
    picture = grid([("two", [red, green]), ("one", [blue])])
    assert picture.shape == (2 * (18 + 36), 104, 3)
    np.testing.assert_array_equal(picture[18:54, :50], red)
    np.testing.assert_array_equal(picture[18:54, 54:], green)
    np.testing.assert_array_equal(picture[72:, :50], blue)
    assert not picture[72:, 50:].any()
    assert not picture[18:54, 50:54].any()
    assert picture[:18].any()
    assert picture[54:72].any()


def test_a_film_of_less_quality_is_smaller(tmp_path: Path) -> None:
    noise = [np.random.default_rng(i).integers(0, 255, (64, 64, 3), np.uint8) for i in range(6)]
    for quality in (8, 3):
        write_video(tmp_path / f"{quality}.mp4", noise, 6, quality)
    assert (tmp_path / "3.mp4").stat().st_size < 0.7 * (tmp_path / "8.mp4").stat().st_size
