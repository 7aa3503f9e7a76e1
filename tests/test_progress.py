"""The progress display: plain lines where nobody watches, a bar where somebody does."""

from __future__ import annotations

import io
import re

from rich.console import Console

from glideslope.progress import Progress


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def plain(total: int, **options: int) -> tuple[Progress, Clock, io.StringIO]:
    out, clock = io.StringIO(), Clock()
    console = Console(file=out, force_terminal=False, width=40)
    return Progress(total, console=console, clock=clock, **options), clock, out


def test_a_plain_line_says_everything_and_is_never_wrapped() -> None:
    progress, clock, out = plain(6_000_000)
    clock.now += 100
    progress.update(
        720_000, stage="S2_yaw_pitch_small", success_rate=0.834, rates={"encoder": 1e-4, "actor": 5e-5}
    )
    assert out.getvalue() == (
        "720,000/6,000,000 frames (12.0%) | 0:01:40 elapsed | 0:12:13 left | 7,200 frames/s"
        " | stage S2_yaw_pitch_small | success 83% | lr encoder 1.00e-04 actor 5.00e-05\n"
    )


def test_lines_come_at_once_then_every_thirty_seconds_then_at_the_end() -> None:
    progress, clock, out = plain(1000)
    with progress:
        for frame in range(0, 91):
            progress.update(frame)
            clock.now += 1
    frames = [int(line.split("/")[0]) for line in out.getvalue().splitlines()]
    assert frames == [0, 30, 60, 90]


def test_the_last_line_is_not_said_twice() -> None:
    progress, _, out = plain(10)
    with progress:
        progress.update(10)
    progress.close()
    assert out.getvalue().count("\n") == 1
    assert "10/10 frames (100.0%)" in out.getvalue()
    assert "0:00:00 left" in out.getvalue()


def test_nothing_is_shown_for_a_run_that_never_began() -> None:
    progress, _, out = plain(10)
    with progress:
        pass
    assert out.getvalue() == ""


def test_speed_is_recent_and_leaves_out_what_was_done_before_a_resume() -> None:
    progress, clock, out = plain(100_000, first_frame=50_000)
    for second in range(1, 301):
        clock.now += 1
        # Random seed frames are fast; what comes after is ten times slower.
        progress.update(50_000 + (100 * second if second <= 100 else 10_000 + 10 * (second - 100)))
    assert "50,100/100,000 frames (50.1%) | 0:00:01 elapsed | 0:08:19 left | 100 frames/s" in out.getvalue()
    clock.now += 30
    progress.update(62_300)
    assert " 10 frames/s" in out.getvalue().splitlines()[-1]


def test_more_frames_than_planned_are_still_all_of_them() -> None:
    progress, clock, out = plain(100)
    clock.now += 10
    progress.update(104)
    assert "104/100 frames (100.0%) | 0:00:10 elapsed | 0:00:00 left" in out.getvalue()


def test_long_times_count_days() -> None:
    progress, clock, out = plain(10_000)
    clock.now += 90_061
    progress.update(100)
    assert "1d 01:01:01 elapsed | 103d 04:40:39 left" in out.getvalue()


def test_notes_are_taken_literally() -> None:
    progress, _, out = plain(10)
    with progress:
        progress.note("stage [red]S1[/red] entered at frame 12 of a run with a name longer than the width")
    assert out.getvalue() == (
        "stage [red]S1[/red] entered at frame 12 of a run with a name longer than the width\n"
    )


def test_a_terminal_gets_a_bar_with_notes_above_it() -> None:
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, force_interactive=True, width=100, color_system=None)
    with Progress(1000, console=console) as progress:
        progress.update(500, stage="S1_yaw_small", success_rate=0.5, rates={"encoder": 1e-4})
        progress.note("a note")
    screen = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", out.getvalue())
    *_, bar, details, rates = [line.strip() for line in screen.splitlines() if line.strip()]
    assert re.fullmatch(r"50% [━╸╺ ]+ 500/1,000 frames  .* frames/s", bar)
    assert re.fullmatch(r"0:00:0\d elapsed  .* left  stage S1_yaw_small  success 50%", details)
    assert rates == "lr encoder 1.00e-04"
    assert screen.index("a note") < screen.rindex("50%")
