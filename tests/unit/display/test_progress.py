"""The progress display: plain lines where nobody watches, a bar where somebody does."""

from __future__ import annotations

import io
import re
from typing import Any

from rich.console import Console

from glideslope.display.console import say
from glideslope.display.progress import Progress


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def plain(total: int, **options: Any) -> tuple[Progress, Clock, io.StringIO]:
    out, clock = io.StringIO(), Clock()
    console = Console(file=out, force_terminal=False, width=40)
    return Progress(total, console=console, clock=clock, **options), clock, out


def terminal(total: int, width: int = 80, **options: Any) -> tuple[Progress, Clock, io.StringIO]:
    out, clock = io.StringIO(), Clock()
    console = Console(file=out, force_terminal=True, force_interactive=True, width=width, color_system=None)
    return Progress(total, console=console, clock=clock, **options), clock, out


def shown(out: io.StringIO) -> list[str]:
    """The lines on the screen, those that were drawn over included."""
    return [line.strip() for line in re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", out.getvalue()).splitlines() if line.strip()]


def test_a_plain_line_says_everything_and_is_never_wrapped() -> None:
    progress, clock, out = plain(6_000_000, done=720_000, costs={"learn": 1 / 7200})
    clock.now += 100
    progress.update(
        720_000,
        work={"learn": 5_280_000},
        stage="S2_yaw_pitch_small",
        window_rate=0.834,
        rates={"encoder": 1e-4, "actor": 5e-5},
    )
    # 5,280,000 frames at 7,200 a second: 733 seconds.
    assert out.getvalue() == (
        "720,000/6,000,000 frames (12.0%) | learning | 0:01:40 elapsed | 0:12:13 left | 7,200 frames/s"
        " | stage S2_yaw_pitch_small | training window 83% landed | lr encoder 1.00e-04 actor 5.00e-05\n"
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
        progress.finish()
    progress.close()
    assert out.getvalue().splitlines()[1:] == ["10/10 frames (100.0%) | finished | 0:00:00 elapsed | 0:00:00 left"]


def test_nothing_is_shown_for_a_run_that_never_began() -> None:
    progress, _, out = plain(10)
    with progress:
        pass
    assert out.getvalue() == ""


def test_speed_is_recent_and_leaves_out_what_was_done_before_a_resume() -> None:
    progress, clock, out = plain(100_000, done=50_000)
    progress.update(50_000, kind="collect")
    for second in range(1, 401):
        clock.now += 1
        # Random seed frames are fast; what comes after is ten times slower.
        collecting = second <= 100
        frame = 50_000 + (100 * second if collecting else 10_000 + 10 * (second - 100))
        progress.update(frame, kind="collect" if collecting else "learn")
    assert "53,000/100,000 frames (53.0%) | collecting (random actions)" in out.getvalue()
    assert " 100 frames/s" in out.getvalue().splitlines()[1]
    assert " 10 frames/s" in out.getvalue().splitlines()[-1]


def test_more_frames_than_planned_are_still_all_of_them() -> None:
    progress, clock, out = plain(100)
    clock.now += 10
    progress.update(104)
    assert "104/100 frames (100.0%) | learning | 0:00:10 elapsed | 0:00:00 left" in out.getvalue()


def test_long_times_count_days() -> None:
    progress, clock, out = plain(10_000, costs={"learn": 900.61})
    clock.now += 90_061
    progress.update(0, work={"learn": 9900})
    # 8,916,039 seconds: 103 days and 16,839 seconds.
    assert "1d 01:01:01 elapsed | 103d 04:40:39 left" in out.getvalue()


def test_an_evaluation_during_training_has_its_own_progress_and_plain_lines() -> None:
    """Nothing was said until the first frame after it."""
    progress, clock, out = plain(1000, done=400, costs={"learn": 0.1, "evaluate": 0.5})
    progress.update(400, work={"learn": 600, "evaluate": 100})
    with progress.activity("evaluate", "evaluating stage 3 of 5", units=100, total=50, unit="episodes"):
        for step in range(100):
            clock.now += 0.5
            progress.tick()
            if step == 49:
                progress.advance(12)
    lines = out.getvalue().splitlines()
    # At 30 of its 50 seconds 20 are left, then 60 for the frames.
    assert len(lines) == 2
    assert lines[1].startswith(
        "400/1,000 frames (40.0%) | evaluating stage 3 of 5: 12/50 episodes | 0:00:30 elapsed | 0:01:20 left"
    )


def test_time_left_is_marked_while_a_part_of_the_work_is_of_unknown_cost() -> None:
    progress, _, out = plain(100, costs={"learn": 1.0})
    progress.update(0, work={"learn": 100, "film": 10})
    assert "over 0:01:40 left" in out.getvalue()


def test_an_evaluation_alone_learns_its_pace_from_its_steps() -> None:
    progress, clock, out = plain(200, unit="episodes", whole={"evaluate": 200.0}, transient=True, line_seconds=10.0)
    with progress:
        for name in ("trained, 4 S4_full", "expert, 4 S4_full"):
            with progress.activity("evaluate", name, units=100, total=100, unit="episodes"):
                for _ in range(100):
                    clock.now += 0.25
                    progress.tick()
                    progress.advance(1)
    lines = out.getvalue().splitlines()
    assert [line.split(" | ")[:2] for line in lines] == [
        ["39/200 episodes (19.5%)", "trained, 4 S4_full: 39/100 episodes"],
        ["79/200 episodes (39.5%)", "trained, 4 S4_full: 79/100 episodes"],
        ["119/200 episodes (59.5%)", "expert, 4 S4_full: 19/100 episodes"],
        ["159/200 episodes (79.5%)", "expert, 4 S4_full: 59/100 episodes"],
        ["199/200 episodes (99.5%)", "expert, 4 S4_full: 99/100 episodes"],
    ]
    assert [line.split(" | ")[3] for line in lines] == [f"0:00:{left} left" for left in (40, 30, 20, 10, "02")]


def test_notes_are_taken_literally() -> None:
    progress, _, out = plain(10)
    with progress:
        progress.note("stage [red]S1[/red] entered at frame 12 of a run with a name longer than the width")
    assert out.getvalue() == ("stage [red]S1[/red] entered at frame 12 of a run with a name longer than the width\n")


def test_a_terminal_gets_a_bar_with_notes_above_it() -> None:
    progress, _, out = terminal(
        1000, width=100, done=500, whole={"learn": 1000}, work={"learn": 500}, costs={"learn": 1.0}
    )
    with progress:
        progress.update(500, work={"learn": 500}, stage="S1_yaw_small", window_rate=0.5, rates={"encoder": 1e-4})
        progress.note("a note")
    *_, bar, doing, details, rates = shown(out)
    assert re.fullmatch(r"50% [━╸╺ ]+ 0:00:00 elapsed  0:08:20 left", bar)
    assert doing == "learning  1 frames/s"
    assert details == "frame 500/1,000  stage S1_yaw_small  training window 50% landed"
    assert rates == "lr encoder 1.00e-04"
    assert shown(out).index("a note") < len(shown(out)) - 4


def test_the_bar_says_what_is_done_behind_the_last_frame() -> None:
    costs, work = {"evaluate": 1.0, "film": 1.0}, {"evaluate": 50.0, "film": 50.0}
    whole = {**work, "learn": 100.0}
    progress, clock, out = terminal(1000, done=1000, whole=whole, work=work, costs={**costs, "learn": 1.0})
    with progress:
        progress.update(1000, work=work)
        with progress.activity("evaluate", "final evaluation, stage 2 of 5", units=50, total=100, unit="episodes"):
            progress.advance(30)
            progress._bar.refresh()
        clock.now += 50
        with progress.activity("film", "filming", units=50):
            progress._bar.refresh()
        text = "\n".join(shown(out))
    assert re.search(r" 50% [━╸╺ ]+ 0:00:00 elapsed  0:01:40 left", " " + text)
    assert re.search(r"final evaluation, stage 2 of 5 [━╸╺ ]+ 30/100 episodes", text)
    assert re.search(r"^filming$", text, re.MULTILINE)
    assert "100%" not in text


def test_no_line_is_wider_than_the_terminal() -> None:
    progress, clock, out = terminal(6_000_000, done=5_500_000, whole={"learn": 6e6}, costs={"learn": 1.0})
    clock.now += 3_000_000
    with progress:
        for kind in ("collect", "learn"):
            progress.update(
                5_500_000,
                kind=kind,
                work={"learn": 1e6, "evaluate": 1e6, "film": 1.0},
                stage="S2_yaw_pitch_small",
                window_rate=1.0,
                rates=dict.fromkeys(("encoder", "actor", "critic"), 1e-4),
            )
            progress._bar.refresh()
        with progress.activity("evaluate", "final evaluation, stage 5 of 5", units=9, total=1000, unit="episodes"):
            progress.note("frame 2,512: every stage: S0_lock 100%, S1_yaw_small 100%, S2_yaw_pitch_small 100%")
            progress._bar.refresh()
    assert max(map(len, shown(out))) <= 80
    assert "S2_yaw_pitch_small" in shown(out)[-2]


# --- lines ---


def on_terminal(prose: str, verbatim: str = "", width: int = 30) -> list[str]:
    out = io.StringIO()
    say(Console(file=out, force_terminal=True, width=width, color_system=None), prose, verbatim)
    return out.getvalue().splitlines()


def test_prose_wraps_between_words_on_a_terminal() -> None:
    assert on_terminal("stage 0 S0_lock: 0% landed of [4] (95% interval)") == [
        "stage 0 S0_lock: 0% landed of",
        "[4] (95% interval)",
    ]


def test_what_is_copied_is_never_broken() -> None:
    command = "python evaluate.py 'run=/a long/path/of a run'"
    assert on_terminal("Play it: ", command) == ["Play it:", command]
    assert on_terminal("Run folder: ", "/a/b c") == ["Run folder: /a/b c"]
    path = "/a/path/without/a/space/longer/than/a/line"
    assert on_terminal(f"stopped: {path}") == ["stopped:", path]


def test_a_file_gets_one_line() -> None:
    out = io.StringIO()
    say(Console(file=out, width=20), "prose that is longer than a line ", "and [a] command")
    assert out.getvalue() == "prose that is longer than a line and [a] command\n"
