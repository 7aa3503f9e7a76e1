"""The time left: clocks played through it, of runs whose true durations are known."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

import pytest

from glideslope.cli.main import TRAIN_CONFIG, compose
from glideslope.display.time_left import Costs, Kind, Steady, TimeLeft
from glideslope.display.workload import film_episodes, scoring_steps, work_left
from glideslope.settings import Settings

# Seconds per unit, as measured for the profile state on one core.
COSTS: Mapping[Kind, float] = {
    "collect": 0.003,
    "learn": 0.03,
    "evaluate": 0.06,
    "film": 0.25,
    "save": 0.2,
    "draw": 3.0,
}
LOOK_SECONDS = 0.25  # between two looks at the bar


class Play:
    """A run on a clock of its own, with somebody who looks at the time left four times a second."""

    def __init__(self, settings: Settings, truth: Costs, estimate: Costs = COSTS, frame: int = 0) -> None:
        self.settings, self.truth = settings, dict(truth)
        self.now = 0.0
        self.frame, self.stage, self.changes, self.due = frame, 0, 0, 0
        self.time_left, self.steady = TimeLeft(estimate, 0.0), Steady()
        self.time_left.plan(work_left(settings, frame))
        self.looks: list[tuple[float, float]] = []  # time, seconds shown
        self.untrained = settings.task.episode_decisions  # steps of an episode
        self.lands_from = (2500, 3500)  # frames at which the policy begins to land, and always does

    @property
    def length(self) -> float:
        """Mean steps of an episode."""
        first, last = self.lands_from
        landed = min(max((self.frame - first) / (last - first), 0.0), 1.0)
        return self.untrained + landed * (24.0 - self.untrained)

    def look(self) -> None:
        self.looks.append((self.now, self.steady.show(self.time_left.seconds(self.now), self.now)))

    def spend(self, seconds: float) -> None:
        end = self.now + seconds
        while (following := (self.now // LOOK_SECONDS + 1) * LOOK_SECONDS) <= end:
            self.now = following
            self.look()
        self.now = end

    def suspend(self, seconds: float) -> None:
        """The machine sleeps; nobody looks."""
        self.now += seconds

    def train(self, until: int | None = None) -> None:
        settings, total = self.settings, self.settings.num_train_frames
        every = settings.eval_every_frames
        while self.frame < (total if until is None else until):
            kind: Kind = "collect" if self.frame < settings.num_seed_frames else "learn"
            self.spend(settings.num_envs * self.truth[kind])
            before, self.frame = self.frame, min(self.frame + settings.num_envs, total)
            due = self.frame // every > before // every
            self.report(kind, self.frame - before, "all" if self.frame == total else "one" if due else "")
            if self.frame // settings.snapshot_every_frames > before // settings.snapshot_every_frames:
                self.do("save", 1.0, 1)

    def report(self, kind: Kind, frames: int, due: str) -> None:
        self.time_left.did(kind, frames, self.now)
        self.due = {"all": self.stages, "one": 1, "": 0}[due]
        self.plan()
        if due:
            self.evaluate(1 if due == "one" else self.stages, self.settings.num_eval_episodes)

    @property
    def stages(self) -> int:
        return self.settings.curriculum.last_stage + 1

    def advance_stage(self) -> None:
        self.stage, self.changes = self.stage + 1, self.changes + 1
        self.report("learn", 0, "all")

    def plan(self, final: int | None = None) -> None:
        work = work_left(
            self.settings,
            self.frame,
            stage=self.stage,
            changes=self.changes,
            due=self.due,
            final=final,
            episode_length=self.length,
        )
        self.time_left.plan(work)

    def evaluate(self, stages: int, episodes: int, final: int | None = None) -> None:
        envs = min(self.settings.num_eval_episodes, 32)
        units = scoring_steps(episodes, envs, self.length, self.settings.task.episode_decisions)
        for _ in range(stages):
            self.do("evaluate", units, round(units))
            self.due = max(self.due - 1, 0)
            self.plan(final)
            final = None if final is None else final - 1

    def do(self, kind: Kind, units: float, steps: int) -> None:
        self.time_left.begin(kind, units, self.now)
        for _ in range(steps):
            self.spend(self.truth[kind])
            self.time_left.tick(self.now)
        self.time_left.end(self.now)

    def finish(self) -> None:
        self.do("save", 1.0, 1)
        self.evaluate(self.stages, self.settings.final_eval_episodes, self.stages - 1)
        pictures = film_episodes(self.settings) * (1 + round(self.length))
        self.do("film", pictures, pictures)
        self.do("draw", 1.0, 1)

    def check_jumps(self) -> None:
        """Nothing that was shown differs by more than a factor of two from what was shown a look before."""
        for (then, before), (now, shown) in pairwise(self.looks):
            passed = now - then
            assert shown <= 2.0 * before, (then, before, now, shown)
            # The clock goes on by itself; a second is the least that is shown.
            assert shown >= max(before - passed, 0.0) / 2.0, (then, before, now, shown)
            assert shown >= 1.0

    def error(self, share: float, since: float = 0.0) -> float:
        """By which factor the time left was wrong at a share of the time after ``since``; below 1: too short."""
        moment = since + share * (self.now - since)
        at, shown = next(look for look in self.looks if look[0] >= moment)
        return shown / (self.now - at)


def settings(*overrides: str) -> Settings:
    return compose(TRAIN_CONFIG, ["profile=state", *overrides], Settings).settings


@pytest.fixture(scope="module")
def short() -> Settings:
    return settings("num_train_frames=4000", "num_seed_frames=2000")


@pytest.fixture(scope="module")
def full() -> Settings:
    return settings("num_train_frames=50000", "num_seed_frames=2000", "replay_buffer_size=60000")


def test_the_whole_run_is_counted_from_its_first_second(short: Settings) -> None:
    """It said 5 seconds beside "about 2 minutes", and 0 for more than half of the run."""
    play = Play(short, COSTS)
    play.train()
    play.finish()
    play.check_jumps()
    for share in (0.0, 0.25, 0.5, 0.75, 0.95):
        assert 1 / 1.5 < play.error(share) < 1.5, share


def test_a_run_too_short_to_learn_anything() -> None:
    play = Play(compose(TRAIN_CONFIG, ["profile=smoke"], Settings).settings, COSTS)
    play.lands_from = (10**6, 10**6 + 1)
    play.train()
    play.finish()
    play.check_jumps()
    for share in (0.0, 0.25, 0.5, 0.75, 0.95):
        assert 1 / 1.1 < play.error(share) < 1.1, share


@pytest.mark.parametrize("factor", [3.0, 1 / 3.0])
def test_a_wrong_estimate_is_put_right_by_what_is_measured(short: Settings, factor: float) -> None:
    play = Play(short, {kind: factor * cost for kind, cost in COSTS.items()})
    play.train()
    # Of the evaluations the first one, of the film nothing is measured before it begins.
    play.truth |= {"film": COSTS["film"], "draw": COSTS["draw"]}
    play.finish()
    play.check_jumps()
    for share in (0.5, 0.75):
        assert 1 / 1.5 < play.error(share) < 1.5, share


def test_slow_evaluations_do_not_make_days_of_an_hour(full: Settings) -> None:
    """One evaluation turned 1:05 hours into 7 days: its time counted as that of the frames before it."""
    play = Play(full, {**COSTS, "evaluate": 30 * COSTS["evaluate"]}, frame=2400)
    play.train(until=2600)
    play.check_jumps()
    # 47,400 frames, 18 evaluations of a stage of at most 216 steps and 5 of every stage of about 50, at the end
    # 5 of 87 steps, and the film.
    truth = 47_400 * 0.03 + 30 * 0.06 * (18 * 216 + 25 * 50 + 5 * 87) + 0.25 * 75 + 5
    assert play.looks[-1][1] < truth < 12_000


def test_frames_cost_what_frames_take(full: Settings) -> None:
    """An evaluation that takes long says nothing about the speed of learning."""
    play = Play(full, {**COSTS, "evaluate": 30 * COSTS["evaluate"]}, frame=2400)
    play.train(until=2600)
    assert play.time_left.cost("learn") == pytest.approx(0.03, rel=0.05)


def test_a_sudden_slow_down_is_noticed(full: Settings) -> None:
    play = Play(full, COSTS)
    play.train(until=10_000)
    play.truth = {kind: 4.0 * cost for kind, cost in COSTS.items()}
    slow = play.now
    play.train(until=14_000)
    play.check_jumps()
    assert play.now - slow > 300
    assert play.time_left.cost("learn") == pytest.approx(4 * 0.03, rel=0.1)


@pytest.mark.parametrize("kind", ["learn", "evaluate"])
def test_a_suspended_machine_changes_little(full: Settings, kind: Kind) -> None:
    play = Play(full, COSTS)
    play.train(until=10_000)
    before = play.looks[-1][1]
    if kind == "learn":
        play.suspend(8 * 3600.0)
    else:
        play.time_left.begin("evaluate", 50, play.now)
        for step in range(50):
            play.now += 8 * 3600.0 if step == 20 else COSTS["evaluate"]
            play.time_left.tick(play.now)
        play.time_left.end(play.now)
    play.train(until=10_400)
    play.check_jumps()
    assert before / 1.3 < play.looks[-1][1] < before * 1.3


def test_stages_passed_quickly(full: Settings) -> None:
    play = Play(full, COSTS)
    play.train(until=8000)
    for frame in (12_000, 16_000, 20_000, 24_000):
        play.advance_stage()
        play.train(until=frame)
    play.train()
    play.finish()
    play.check_jumps()
    for share in (0.25, 0.5, 0.75):
        assert 1 / 1.5 < play.error(share) < 1.5, share


def test_a_resumed_run_counts_what_it_has_to_do_itself(full: Settings) -> None:
    play = Play(full, COSTS, frame=40_000)
    # 10,000 frames and 3 evaluations, those of every stage at the end and of 8 changes of stage at most.
    play.look()
    least = 10_000 * 0.03 + 0.06 * ((3 + 5) * 50 + 5 * 87) + 0.25 * 75 + 3
    assert least < play.looks[0][1] < 1.3 * least
    play.train()
    play.finish()
    play.check_jumps()
    for share in (0.25, 0.5, 0.75):
        assert 1 / 1.2 < play.error(share) < 1.2, share


def test_steps_of_an_evaluation_by_hand() -> None:
    # 50 on 32 environments: two after each other, if all time out; else 50/32 of an episode for each and a half.
    assert scoring_steps(50, 32, 108.0, 108.0) == 216.0
    assert scoring_steps(50, 32, 24.0, 108.0) == pytest.approx(24 * 50 / 32 + 12)
    assert scoring_steps(4, 4, 24.0, 24.0) == 24.0
    assert scoring_steps(3, 4, 24.0, 24.0) == 24.0


def test_work_of_a_short_run_by_hand(short: Settings) -> None:
    work = work_left(short, 0)
    # 2,000 seed frames; at 2,500 one stage is scored, at 4,000 all five, and five again at the end.
    # In 2,000 learning frames 2000/2150 of the way from time-outs, 108 steps, to landings, 4 of 18 seconds.
    last = 108 * (24 / 108) ** (2000 / 2150)
    on_the_way = 50 * (108 + last) / 2 / 32 + (108 + last) / 4
    one, final = last * (50 / 32 + 0.5), last * (100 / 32 + 0.5)
    assert work == {
        "collect": 2000,
        "learn": 2000,
        # No stage can be passed: 80 episodes that time out are 8,640 frames.
        "evaluate": pytest.approx(on_the_way + 5 * one + 5 * final),
        "film": pytest.approx(3 * (1 + last)),
        "save": 1,
        "draw": 1,
    }
    end = work_left(short, 4000, episode_length=24.0)
    one, final = 24 * (50 / 32 + 0.5), 24 * (100 / 32 + 0.5)
    assert (end["learn"], end["evaluate"], end["save"]) == (0, pytest.approx(5 * final), 0)
    due = work_left(short, 4000, due=5, episode_length=24.0)
    assert due["evaluate"] == pytest.approx(5 * one + 5 * final)


def test_steady_lets_the_clock_go_on_but_doubles_at_most() -> None:
    steady = Steady()
    assert steady.show(100.0, 0.0) == 100.0
    assert steady.show(70.0, 30.0) == 70.0
    assert steady.show(7000.0, 60.0) == 140.0
    assert steady.show(1.0, 70.0) == pytest.approx(65.0)  # half of what the clock has left of it
    assert steady.show(7000.0, 72.5) == pytest.approx(65.0 * 2**0.5)  # half of the five seconds
    assert steady.show(0.0, 1000.0) == 1.0
