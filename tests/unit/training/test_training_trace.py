"""What a training does step by step, reconstructed from the calls of its parts: the loop itself is not looked into."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from glideslope.agent import DrQV2Agent
from glideslope.envs.gym import LandingVectorEnv
from glideslope.lr_scheduler import LiveSchedules, read_lr
from glideslope.replay.buffer import ReplayBuffer
from glideslope.runs.snapshots import load
from glideslope.storage.csv_table import read_csv_table
from tests.support.training import train

NUM_ENVS, SEED_FRAMES, FRAMES, EVERY = 4, 100, 400, 6
SCALE = 0.25
# A pad so large and a limit so high that random flight lands often: episodes are short and stages change.
RUN = (
    *("profile=smoke", "save_video=false", f"num_train_frames={FRAMES}", f"num_seed_frames={SEED_FRAMES}"),
    *("lr=1.0e-9", f"stddev_schedule=linear(1.0,0.2,{FRAMES})", f"reward_scale={SCALE}"),
    *("lr_schedule=stage_based", "lr_schedule.critic.type=reduce_on_plateau", "batch_size=12"),
    "lr_schedule.critic.intervals=[{stage: 0, lr: 1x, patience: 9},{stage: 1, lr: 0.5x, patience: 9}]",
    # A rate that is another one at every step tells which step an update was made for.
    *("lr_schedule.encoder.type=linear_decay", "lr_schedule.encoder.intervals=[{init_lr: 1x, final_lr: 0.2x}]"),
    *(f"update_every_steps={EVERY}", "log_every_frames=50", "eval_every_frames=60"),
    *("num_eval_episodes=2", "final_eval_episodes=1", "snapshot_every_frames=170"),
    *("task.pad_size=14", "task.max_touchdown_speed=10", "task.start_height=[0.35,0.4]"),
    *("task.episode_seconds=2.0", "task.controller_hz=30", "task.physics_hz=60"),
    *("curriculum.last_stage=3", "curriculum.window=5", "curriculum.min_episodes=3"),
    *("curriculum.success_rate=0.2", "curriculum.require_consecutive_windows=1"),
    *("curriculum.min_stage_episodes=14", "curriculum.cooldown_episodes=0"),
    "curriculum.replay_earlier_stages=0.3",
)
SENSES = {
    "state": ("encoder_bundle@agent=state",),
    "pixels": ("encoder_bundle@agent=original_small", "auxiliary_weight=0.5"),
}


@dataclass
class Trace:
    """The calls of a training in order, with copies of what they were given and returned."""

    run: Path
    calls: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    history: list[tuple[int, int]] = field(default_factory=list)  # (step, stage) of the entries of stages

    def of(self, name: str) -> list[dict[str, Any]]:
        return [call for kind, call in self.calls if kind == name]


@pytest.fixture(scope="module", params=["state", pytest.param("pixels", marks=pytest.mark.slow)])
def trace(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Trace:
    found = Trace(tmp_path_factory.mktemp("trace") / "run")
    with pytest.MonkeyPatch.context() as patch:

        def record(kind: type, name: str) -> None:
            original = getattr(kind, name)

            def call(self: Any, *arguments: Any, **named: Any) -> Any:
                entry = {"arguments": copy.deepcopy(arguments), "named": copy.deepcopy(named), "by": self}
                if name == "update":
                    entry["arguments"] = (len(arguments[0].reward), *arguments[1:])
                    entry["rates"] = {key: read_lr(one) for key, one in self.optimizers.items()}
                elif name == "act":
                    entry["arguments"] = arguments[1:]
                result = original(self, *arguments, **named)
                entry["result"] = copy.deepcopy(result) if name in ("step", "reset") else None
                found.calls.append((name, entry))
                return result

            patch.setattr(kind, name, call)

        for name in ("step", "reset", "set_stage"):
            record(LandingVectorEnv, name)
        for name in ("add", "add_first"):
            record(ReplayBuffer, name)
        for name in ("act", "update", "zero_action_outputs"):
            record(DrQV2Agent, name)
        record(LiveSchedules, "evaluated")
        assert train(found.run, *RUN, *SENSES[request.param]) == 0

    # Evaluations have an environment of their own, which has its stage set later.
    env = found.of("set_stage")[0]["by"]
    found.calls = [(name, call) for name, call in found.calls if type(call["by"]) is not type(env) or call["by"] is env]
    history = load(found.run / "snapshot.pt")["curriculum"]["history"]
    found.history = [(step, stage) for step, stage in history]
    assert len(found.of("step")) == len(found.of("add")) == FRAMES // NUM_ENVS
    assert [stage for _, stage in found.history] == [0, 1, 2, 3]
    return found


def newest(observation: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any] | None]:
    """A copy of the last frame and state of each stack, and of what the networks may not see."""
    pixels = observation.get("pixels")
    return {
        "frame": None if pixels is None else pixels[:, -1].copy(),
        "state": observation["state"][:, -1].copy(),
        "privileged": observation["privileged" if pixels is None else "oracle_gimbal"].copy(),
    }


def assert_rows(found: Any, expected: NDArray[Any] | None) -> None:
    if expected is None:
        assert found is None
    else:
        np.testing.assert_array_equal(found, expected)


def test_each_step_is_stored_with_the_observation_that_it_led_to(trace: Trace) -> None:
    """Where an episode ended that is its final one, not the first one of the next."""
    finals = 0
    for step, add in zip(trace.of("step"), trace.of("add"), strict=True):
        (actions,) = step["arguments"]
        following, _, terminated, truncated, infos = step["result"]
        expected = newest(following)
        for env in np.flatnonzero(terminated | truncated):
            finals += 1
            for key, own in newest({k: v[None] for k, v in infos["final_obs"][env].items()}).items():
                if own is not None:
                    rows = expected[key]
                    assert rows is not None
                    assert not np.array_equal(rows[env], own[0])
                    rows[env] = own[0]
        stored = add["arguments"]
        assert_rows(stored[0], actions)
        assert_rows(stored[2], terminated)
        assert_rows(stored[3], truncated)
        for rows, key in zip(stored[4:], ("frame", "state", "privileged"), strict=True):
            assert_rows(rows, expected[key])
    assert finals > 20


def test_rewards_are_stored_scaled(trace: Trace) -> None:
    for step, add in zip(trace.of("step"), trace.of("add"), strict=True):
        np.testing.assert_allclose(add["arguments"][1], SCALE * step["result"][1], rtol=1e-12)


def test_an_episode_begins_with_its_own_first_observation(trace: Trace) -> None:
    began = trace.of("add_first")
    (reset,) = trace.of("reset")
    firsts = [(np.arange(NUM_ENVS), newest(reset["result"][0]))]
    for step in trace.of("step"):
        following, _, terminated, truncated, _ = step["result"]
        ids = np.flatnonzero(terminated | truncated)
        if len(ids):
            rows = newest(following).items()
            firsts.append((ids, {key: None if row is None else row[ids] for key, row in rows}))
    assert len(began) == len(firsts) > 10
    for call, (ids, first) in zip(began, firsts, strict=True):
        np.testing.assert_array_equal(call["arguments"][0], ids)
        for key, rows in first.items():
            assert_rows(call["named"][key], rows)


def test_actions_are_random_in_the_seed_frames_and_the_policys_with_noise_after_them(trace: Trace) -> None:
    noisy = [stddev for (stddev,) in (call["arguments"] for call in trace.of("act")) if stddev is not None]
    steps = range(SEED_FRAMES, FRAMES, NUM_ENVS)
    assert noisy == pytest.approx([1.0 - 0.8 * step / FRAMES for step in steps])
    random = np.concatenate([step["arguments"][0] for step in trace.of("step")[: SEED_FRAMES // NUM_ENVS]])
    assert random.shape == (SEED_FRAMES, 5)
    assert np.abs(random).max() <= 1.0
    # Even over [-1, 1]: the standard deviation of 500 draws is within 5% of 1 / sqrt(3).
    assert random.std() == pytest.approx(1 / np.sqrt(3), rel=0.05)
    assert abs(random.mean()) < 0.08


def updates() -> list[int]:
    return [step for step in range(SEED_FRAMES + 1, FRAMES + 1) if step % EVERY == 0]


def behind(step: int) -> int:
    """The end of the vector step that a step falls into."""
    return -(-step // NUM_ENVS) * NUM_ENVS


def stage_at(trace: Trace, step: int) -> int:
    return [stage for entered, stage in trace.history if entered <= step][-1]


def test_updates_fall_on_their_steps_with_the_rates_of_these(trace: Trace) -> None:
    made = trace.of("update")
    assert len(made) == len(updates())
    done, places = 0, []
    for name, _ in trace.calls:
        done += NUM_ENVS * (name == "step")
        if name == "update":
            places.append(done)
    assert places == [behind(step) for step in updates()]
    intervals = set()
    for step, update in zip(updates(), made, strict=True):
        size, stddev = update["arguments"]
        assert size == 12
        assert stddev == pytest.approx(1.0 - 0.8 * step / FRAMES)
        stage = stage_at(trace, step)
        shares = {
            "encoder": 1.0 - 0.8 * step / FRAMES,
            "actor": (1.2, 1.0, 0.7, 0.5)[stage],
            "critic": 1.0 if stage == 0 else 0.5,
        }
        assert {name: rate / 1e-9 for name, rate in update["rates"].items()} == pytest.approx(shares)
        if update["named"]["diagnostics"]:
            intervals.add(step // 50)
    assert sum(update["named"]["diagnostics"] for update in made) == len(intervals) == 6


def test_an_entry_of_a_stage_frees_its_axes_and_draws_from_it(trace: Trace) -> None:
    # S0 locks the camera, S1 lets it yaw, from S2 on it pitches too; an axis is set free once.
    assert [call["arguments"] for call in trace.of("zero_action_outputs")] == [([4],), ([3],)]
    drawn = trace.of("set_stage")
    assert [call["arguments"][1] for call in drawn] == [0, 1, 2, 3]
    for index, call in enumerate(drawn):
        earlier = call["named"]["earlier"]
        assert [stage.name for stage in (*earlier, call["arguments"][0])] == [
            *("S0_lock", "S1_yaw_small", "S2_yaw_pitch_small", "S3_mid")
        ][: index + 1]
        assert call["named"]["share"] == 0.3


def test_an_evaluation_where_a_stage_was_entered_is_of_the_new_stage(trace: Trace) -> None:
    """Every stage reached is evaluated there, every stage at the end; the current one alone elsewhere."""
    table = read_csv_table(trace.run / "eval.csv")
    frames = table["frame"].astype(int).tolist()
    entries = [step for step, _ in trace.history[1:]]
    passed = [behind(frame) for frame in range(60, FRAMES + 1, 60)]
    assert frames == sorted({*entries, *passed, FRAMES})
    assert table["eval/stage"].tolist() == [stage_at(trace, frame) for frame in frames]
    for stage in range(4):
        reached = {frame for frame in entries if max(s for at, s in trace.history if at <= frame) >= stage}
        whole = reached | {FRAMES}
        column = dict(zip(frames, table[f"eval/success_rate_stage{stage}"], strict=True))
        assert {frame for frame, rate in column.items() if np.isfinite(rate)} == whole | {
            frame for frame in frames if stage_at(trace, frame) == stage
        }
    own = [table[f"eval/success_rate_stage{stage_at(trace, frame)}"][i] for i, frame in enumerate(frames)]
    np.testing.assert_array_equal(table["eval/success_rate"], own)
    told = trace.of("evaluated")
    assert [call["arguments"][0] for call in told] == frames
    for frame, rate, call in zip(frames, table["eval/success_rate"], told, strict=True):
        _, metrics, history = call["arguments"]
        assert metrics["success_rate"] == rate
        assert history == [entry for entry in trace.history if entry[0] <= frame]


def test_the_log_averages_what_came_since_its_last_row(trace: Trace) -> None:
    table = read_csv_table(trace.run / "train.csv")
    whole = np.isfinite(table["train/critic_loss"])
    frames = table["frame"][whole].astype(int).tolist()
    assert frames == [102, 150, 204, 252, 300, 354]
    steps, since = trace.of("step"), 0
    for row, frame in zip(np.flatnonzero(whole), frames, strict=True):
        until = behind(frame) // NUM_ENVS
        collected = [step["result"] for step in steps[since:until]]
        since = until
        assert table["curriculum/stage"][row] == stage_at(trace, frame)
        for term in ("approach", "time", "landing", "crash"):
            expected = np.mean([infos[f"reward/{term}"] for *_, infos in collected])
            assert table[f"train/reward/{term}"][row] == pytest.approx(expected, rel=1e-9, abs=1e-12)
        ended = [
            (infos["final_info"], env)
            for _, _, terminated, truncated, infos in collected
            for env in np.flatnonzero(terminated | truncated)
        ]
        for column, key in (
            ("episode_reward", "episode_return"),
            ("episode_length", "episode_length"),
            ("success_rate", "success"),
        ):
            figure = table[f"train/{column}"][row]
            if ended:
                assert figure == pytest.approx(np.mean([info[key][env] for info, env in ended]))
            else:
                assert np.isnan(figure)
        assert table["train/stddev"][row] == pytest.approx(1.0 - 0.8 * frame / FRAMES)
