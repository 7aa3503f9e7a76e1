"""Saved environments go on bit for bit, and new episodes may be of earlier stages."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from glideslope.envs.gym import LandingEnv, LandingVectorEnv
from glideslope.envs.landing import Outcome
from glideslope.envs.scenario import Scenarios, StageMix
from glideslope.envs.state import joined, rows_of
from tests.support.environments import (
    BUILDS,
    NUM,
    SCENARIOS,
    SEED,
    SHORT,
    STAGES,
    STEPS,
    actions,
    as_tensors,
    begin,
    build,
    digest,
    leaves,
    play,
    restored,
    straight,
    through_file,
)
from tests.support.paths import ROOT

# --- going on ---


@pytest.mark.parametrize("queue", [False, True], ids=["episodes", "scenarios"])
@pytest.mark.parametrize("kind", BUILDS)
def test_a_restored_environment_goes_on_bit_for_bit(kind: str, queue: bool) -> None:
    stop = int(np.random.default_rng(len(kind)).integers(12, 28))
    env = begin(kind, queue=queue)
    results = [env.step(actions(step)) for step in range(stop)]
    state = env.state_dict()
    env.close()
    again = restored(kind, through_file(state), threads=2)
    assert digest(again.observations()) == digest(results[-1][0])
    assert digest(again.state_dict()) == digest(state)
    rest = [again.step(actions(step)) for step in range(stop, STEPS)]
    again.close()
    assert [digest(result) for result in results + rest] == straight(kind, queue)
    ended = [bool((terminated | truncated).any()) for _, _, terminated, truncated, _ in results + rest]
    assert any(ended[:stop])
    assert any(ended[stop:])


@pytest.mark.parametrize("kind", BUILDS)
def test_parts_of_an_environment_go_on_as_the_whole(kind: str) -> None:
    whole, stop, parts = begin(kind), 15, (slice(0, 1), slice(1, NUM))
    play(whole, 0, stop)
    state = whole.state_dict()
    states = [rows_of(through_file(state), rows) for rows in parts]
    envs = [build(kind, num=rows.stop - rows.start) for rows in parts]
    for env, part in zip(envs, states, strict=True):
        env.load_state_dict(part, STAGES)
    for step in range(stop, STEPS):
        expected = whole.step(actions(step))
        for env, rows in zip(envs, parts, strict=True):
            observation, reward, terminated, truncated, _ = env.step(actions(step)[rows])
            found = (*observation.values(), reward, terminated, truncated)
            for one, other in zip(found, (*expected[0].values(), *expected[1:4]), strict=True):
                np.testing.assert_array_equal(one, other[rows])
    assert digest(joined([env.state_dict() for env in envs])) == digest(whole.state_dict())
    for env in (whole, *envs):
        env.close()


@pytest.mark.slow
@settings(max_examples=25)
@given(st.sets(st.integers(0, STEPS), min_size=1, max_size=4), st.booleans())
def test_it_may_be_saved_and_restored_at_any_steps(stops: set[int], queue: bool) -> None:
    env, step, seen = begin("state", queue=queue), 0, []
    for stop in sorted(stops):
        seen += play(env, step, stop)
        env, step = restored("state", env.state_dict()), stop
    assert seen + play(env, step, STEPS) == straight("state", queue)


def test_saving_disturbs_nothing_and_the_state_is_a_copy() -> None:
    env = begin("pixels")
    seen, states, digests = [], [], []
    for step in range(STEPS):
        states.append(env.state_dict())
        digests.append(digest(states[-1]))
        seen.append(digest(env.step(actions(step))))
    env.close()
    assert seen == straight("pixels")
    assert [digest(state) for state in states] == digests
    assert len(set(digests)) == STEPS
    # Nor does the environment that went on from a state share anything with it.
    again = restored("pixels", states[9])
    play(again, 9, 20)
    assert digest(states[9]) == digests[9]
    for _, leaf in leaves(states[20]):
        if isinstance(leaf, np.ndarray):
            leaf[...] = 1
    assert play(again, 20, 30) == straight("pixels")[20:30]
    again.close()


@pytest.mark.slow
def test_another_process_goes_on_bit_for_bit(tmp_path: Path) -> None:
    env = begin("pixels")
    play(env, 0, 17)
    file = tmp_path / "env.pt"
    torch.save(as_tensors(env.state_dict()), file)
    env.close()
    program = f"from tests.support.environments import future_of; print(future_of({str(file)!r}, 'pixels', 17))"
    root = ROOT
    done = subprocess.run([sys.executable, "-c", program], cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[-1] == digest(straight("pixels")[17:])


def insides(part: Any, path: str) -> Iterator[tuple[str, Any]]:
    """Every array and number that an object of the environment and its parts holds; cameras only draw."""
    for name, value in vars(part).items():
        if type(value).__module__.startswith("glideslope.envs") and "amera" not in type(value).__name__:
            yield from insides(value, f"{path}.{name}")
        elif isinstance(value, np.ndarray | int | float | list):
            yield f"{path}.{name}", value


def test_no_field_is_forgotten() -> None:
    """Every array inside is as it was, the poses and sensors that are only derived from the state too."""
    env = begin("pixels")
    play(env, 0, 20)
    again = restored("pixels", env.state_dict())
    before, after = dict(insides(env, "env")), dict(insides(again, "env"))
    assert before.keys() == after.keys()
    assert {
        "env._task.physics.cam_xmat",
        "env._task._controller._integral",
        "env._task._mix.index",
        "env._task.scenarios.gust",
    } <= before.keys()
    different = [name for name in before if digest(before[name]) != digest(after[name])]
    assert not different
    fresh = dict(insides(build("pixels"), "env"))
    assert sum(digest(fresh[name]) != digest(before[name]) for name in before) > 30
    for one in (env, again):
        one.close()


def test_bringing_poses_up_to_date_changes_no_state() -> None:
    env = begin("state")
    for step in range(STEPS):
        env.step(actions(step))
        before = digest(env.state_dict())
        env.task.physics.refresh()
        assert digest(env.state_dict()) == before


def test_a_used_environment_forgets_its_own_past() -> None:
    env = begin("state")
    play(env, 0, 10)
    state = env.state_dict()
    other = build("state")
    other.reset(seed=1000, options={"scenario_seeds": [1, 2]})
    play(other, 0, 7)
    other.load_state_dict(state, STAGES)
    assert play(other, 10, STEPS) == straight("state")[10:]


def test_it_goes_on_with_other_threads_drawing() -> None:
    """Eight views are shared between two threads, which one drew before."""
    env, again = build("pixels", num=8), build("pixels", threads=2, num=8)
    env.set_stage(STAGES[2], 2)
    env.reset(seed=SEED)
    for step in range(6):
        env.step(actions(step, 8))
    again.load_state_dict(env.state_dict(), STAGES)
    for step in range(6, 20):
        assert digest(env.step(actions(step, 8))) == digest(again.step(actions(step, 8)))
    for one in (env, again):
        one.close()


def test_an_environment_before_its_first_reset_can_be_saved() -> None:
    again = restored("state", build("state").state_dict())
    again.set_stage(STAGES[2], 2, earlier=STAGES[:2], share=0.4)
    again.reset(seed=SEED)
    assert play(again, 0, STEPS) == straight("state")


def test_large_seeds_survive() -> None:
    env = build("state")
    env.set_stage(STAGES[2], 2)
    env.reset(seed=[2**62, 2**100, 3])
    again = restored("state", through_file(env.state_dict()))
    assert play(again, 0, STEPS) == play(env, 0, STEPS)


def test_a_state_holds_arrays_and_plain_data_alone() -> None:
    for queue in (False, True):
        state = begin("state", queue=queue).state_dict()
        assert {type(leaf) for _, leaf in leaves(state)} <= {np.ndarray, int, float, type(None)}
        assert {leaf.dtype.kind for _, leaf in leaves(state) if isinstance(leaf, np.ndarray)} <= set("biuf")
    assert "pixels" not in state


# --- refusals ---


def change(state: dict[str, Any], path: str, value: Any) -> None:
    *parents, last = path.split(".")
    for parent in parents:
        state = state[parent]
    if value is None:
        del state[last]
    else:
        state[last] = value


BROKEN: list[tuple[str, Any, str]] = [
    ("num_envs", 4, r"^num_envs: the state is of 4 environments, this one has 3"),
    ("num_envs", None, r"^num_envs: missing"),
    (
        "states",
        np.zeros((4, 3, 12), np.float32),
        r"^states: .*\(4, 3, 12\) where float32 of shape \(3, 3, 12\)",
    ),
    ("returns", np.zeros(3, np.float32), r"^returns: float32"),
    ("returns", "none", r"^returns: "),
    ("pixels", np.zeros((3, 3, 32, 32), np.uint8), r"^pixels: unknown"),
    ("seeds", [1, 2], r"^seeds: 3 whole numbers"),
    ("seeds", [1, 2, 0.5], r"^seeds: 3 whole numbers"),
    ("queue", [[1, 2], [3]], r"^queue: "),
    ("task", 7, r"^task: a mapping"),
    ("task.time", None, r"^task\.time: missing"),
    ("task.physics.integration", np.zeros((3, 67)), r"^task\.physics\.integration: .*\(3, 67\)"),
    ("task.physics.velocity", np.zeros(3), r"^task\.physics\.velocity: unknown"),
    ("task.controller.integral", None, r"^task\.controller\.integral: missing"),
    ("task.gimbal.angles", np.zeros((3, 3)), r"^task\.gimbal\.angles: "),
    ("task.scenarios.gust", None, r"^task\.scenarios\.gust: missing"),
    ("task.scenarios.heading", np.zeros(2), r"^task\.scenarios\.heading: "),
    ("task.stage_index", np.array([0, 3, 1]), r"^stage_index: there is no stage 3; 3 stages"),
    ("task.stage_index", np.array([0, -1, 1]), r"^stage_index: there is no stage -1"),
    ("task.mix.index", 3, r"^mix\.index: there is no stage 3"),
    ("task.mix.index", 0.5, r"^mix\.index: there is no stage 0.5"),
    ("task.mix.earlier", 4, r"^mix\.earlier: there are no 4 stages"),
    ("task.mix.share", 2.0, r"share: .*from 0 to 1"),
    ("task.mix.share", "some", r"^mix\.share: a number"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("path", "value", "message"), BROKEN)
def test_a_state_of_something_else_is_refused_and_changes_nothing(path: str, value: Any, message: str) -> None:
    donor, env = begin("state"), begin("state")
    play(donor, 0, 20)
    play(env, 0, 12)
    state = donor.state_dict()
    change(state, path, value)
    before = digest(env.state_dict())
    with pytest.raises(ValueError, match=message):
        env.load_state_dict(state, STAGES)
    assert digest(env.state_dict()) == before
    assert play(env, 12, 20) == straight("state")[12:20]


def test_environments_built_otherwise_are_refused() -> None:
    pixels = begin("pixels")
    with pytest.raises(ValueError, match=r"^pixels: unknown here"):
        build("state").load_state_dict(pixels.state_dict(), STAGES)
    with pytest.raises(ValueError, match=r"^pixels: missing"):
        pixels.load_state_dict(begin("state").state_dict(), STAGES)
    with pytest.raises(ValueError, match=r"^states: "):  # another number of frames
        build("state").load_state_dict(begin("privileged").state_dict(), STAGES)
    with pytest.raises(ValueError, match=r"^task\.gimbal\.rates: unknown here"):  # another gimbal control
        build("state").load_state_dict(begin("gimbal acceleration").state_dict(), STAGES)
    with pytest.raises(ValueError, match=r"^task\.gimbal\.rates: missing"):
        build("gimbal acceleration").load_state_dict(begin("gimbal velocity").state_dict(), STAGES)
    with pytest.raises(ValueError, match=r"^num_envs: the state is of 3 environments, this one has 2"):
        build("state", num=2).load_state_dict(begin("state").state_dict(), STAGES)
    with pytest.raises(ValueError, match="there is no stage 2; 2 stages are given"):
        build("state").load_state_dict(begin("state").state_dict(), STAGES[:2])
    pixels.close()


# --- earlier stages ---


def test_the_share_of_earlier_stages_is_as_asked_for() -> None:
    env = build("state", num=50)
    env.set_stage(STAGES[2], 2, earlier=STAGES[:2], share=0.1)
    drawn = np.concatenate([env.reset(seed=0 if k == 0 else None)[1]["stage"] for k in range(40)])
    counts = np.bincount(drawn, minlength=3)
    assert counts.sum() == 2000
    # Four standard deviations of the binomial distributions.
    assert abs(counts[:2].sum() - 200) < 4 * np.sqrt(2000 * 0.1 * 0.9)
    assert np.all(np.abs(counts[:2] - 100) < 4 * np.sqrt(2000 * 0.05 * 0.95))


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_an_episodes_scenario_depends_on_seed_number_and_its_own_stage_alone(share: float) -> None:
    env = build("state")
    env.set_stage(STAGES[2], 2, earlier=STAGES[:2], share=share)
    seen = set()
    for number in range(1, 15):
        _, infos = env.reset(seed=SEED if number == 1 else None)
        expected = Scenarios.empty(NUM, SHORT)
        for row, index in enumerate(infos["stage"]):
            generator = np.random.default_rng([SEED + row, number])
            expected.draw(row, generator, SHORT, STAGES[index])
            seen.add(int(index))
        assert digest(expected.state_dict()) == digest(env.task.scenarios.state_dict())
    assert seen == {0.0: {2}, 0.5: {0, 1, 2}, 1.0: {0, 1}}[share]


def test_a_larger_share_only_adds_earlier_episodes() -> None:
    chosen = []
    for share in (0.0, 0.2, 0.6):
        env = build("state")
        env.set_stage(STAGES[2], 2, earlier=STAGES[:2], share=share)
        chosen.append(np.array([env.reset(seed=SEED if k == 0 else None)[1]["stage"] for k in range(60)]))
    none, some, many = chosen
    assert not (none < 2).any()
    assert 0 < (some < 2).sum() < (many < 2).sum()
    np.testing.assert_array_equal(many[some < 2], some[some < 2])


def test_earlier_stages_come_with_scenarios_of_every_kind() -> None:
    """What decides the stage says nothing of the scenario, whose first draw is how far off the start is."""
    env = build("state", num=50)
    env.set_stage(STAGES[2], 2, earlier=STAGES[:1], share=0.3)
    shares: list[float] = []
    for k in range(6):
        _, infos = env.reset(seed=0 if k == 0 else None)
        offsets = np.linalg.norm(env.task.scenarios.start_position[infos["stage"] == 0, :2], axis=1)
        shares += ((offsets / STAGES[0].start_offset) ** 2).tolist()  # uniform from 0 to 1
    assert 60 < len(shares) < 120
    assert np.mean(shares) == pytest.approx(0.5, abs=0.12)


def test_nothing_earlier_means_the_stage_itself() -> None:
    env, plain = build("state"), build("state")
    env.set_stage(STAGES[2], 0, share=1.0)
    for one in (env, plain):
        one.reset(seed=SEED)
    assert play(env, 0, STEPS) == play(plain, 0, STEPS)


def test_scenarios_asked_for_are_always_of_the_stage_itself() -> None:
    env = build("state")
    env.set_stage(STAGES[2], 2, earlier=STAGES[:2], share=1.0)
    _, infos = env.reset(seed=0, options={"scenario_seeds": SCENARIOS})
    while (infos["scenario"] >= 0).any():
        np.testing.assert_array_equal(infos["stage"], 2)
        infos = env.step(actions(0))[4]
    assert set(env.reset(seed=0)[1]["stage"].tolist()) <= {0, 1}


def test_an_episode_is_flown_and_rewarded_by_its_own_stage() -> None:
    """As in an environment that knows no other stage; an ended episode's infos tell the stage that it was of."""
    num = 12
    env = build("state", num=num)
    env.set_stage(STAGES[2], 2, earlier=STAGES[:2], share=0.6)
    _, infos = env.reset(seed=SEED)
    stages = infos["stage"].copy()
    assert set(stages.tolist()) == {0, 1, 2}
    alone = [LandingVectorEnv(num, task=SHORT, stage=stage, pixels=False, num_threads=1) for stage in STAGES]
    for one in alone:
        one.reset(seed=SEED)
    first, later = np.ones(num, bool), 0
    for step in range(STEPS):
        acts = actions(step, num)
        observations, _, terminated, truncated, infos = env.step(acts)
        apart = [one.step(acts) for one in alone]
        for row in np.flatnonzero(first):
            own_observations, own_infos = apart[stages[row]][0], apart[stages[row]][4]
            for key in infos:
                if key.startswith("reward/"):
                    assert infos[key][row] == own_infos[key][row]
            if not (terminated | truncated)[row]:
                np.testing.assert_array_equal(observations["state"][row], own_observations["state"][row])
                assert (env.task.gimbal.angles[row] == 0.0).all() == (stages[row] == 0)
        for row in np.flatnonzero(terminated | truncated):
            assert infos["final_info"]["stage"][row] == stages[row]
            later += not first[row] and infos["stage"][row] != stages[row]
        first &= ~(terminated | truncated)
        stages = np.where(first, stages, infos["stage"])
    assert not first.any()
    assert later


def test_the_single_environment_mixes_too() -> None:
    env = LandingEnv(task=SHORT, pixels=False)
    env.set_stage(STAGES[2], 2, earlier=STAGES[:2], share=0.5)
    drawn = {int(env.reset(seed=3 if k == 0 else None)[1]["stage"]) for k in range(20)}
    assert drawn == {0, 1, 2}


@pytest.mark.parametrize("share", [-0.1, 1.1, float("nan")])
def test_a_share_that_is_none_is_refused(share: float) -> None:
    env = begin("state")
    with pytest.raises(ValueError, match="from 0 to 1"):
        env.set_stage(STAGES[1], 1, earlier=STAGES[:1], share=share)
    assert play(env, 0, 5) == straight("state")[:5]


def test_every_mix_can_be_written_down_and_read_again() -> None:
    mix = StageMix(STAGES[1], 1, STAGES[:1], 0.25)
    assert StageMix.from_state_dict(mix.state_dict(), STAGES) == mix


def test_runs_here_end_in_every_way() -> None:
    """Otherwise the tests above would leave something out."""
    env = begin("state")
    ways: set[int] = set()
    for step in range(4 * STEPS):
        infos = env.step(actions(step))[4]
        if "final_info" in infos:
            ways |= set(infos["final_info"]["outcome"][infos["_final_info"]].tolist())
    assert {Outcome.CRASHED, Outcome.TIMED_OUT} <= ways
