"""A training follows the schedules of weight decay, betas, tau, discount and updates, and logs what is in force."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from glideslope.agent import DrQV2Agent
from glideslope.lr_scheduler import read
from glideslope.storage.csv_table import read_csv_table
from glideslope.training.training_log import Records
from tests.support.agents import make_agent, make_batch
from tests.support.training import train

FRAMES, SEED = 600, 100
RUN = (
    *("profile=smoke", "encoder_bundle@agent=state", "save_video=false", f"num_train_frames={FRAMES}", "nstep=1"),
    *(f"num_seed_frames={SEED}", "log_every_frames=50", "eval_every_frames=600", "num_eval_episodes=1"),
    *("final_eval_episodes=1", "update_every_steps=2", "actor_every_updates=2"),
)
SCHEDULES = (
    "schedules.critic.weight_decay=1.0e-3",
    "schedules.discount=linear(0.9,0.99,100%)",
    "+schedules.actor={beta1: {type: step_decay, intervals: [{end: 50%, lr: 0.5}, {lr: 1x}]}}",
    "schedules.critic_target_tau={type: cosine_decay, intervals: [{init_lr: 0.1, final_lr: 0}]}",
    "schedules.update_every_steps={type: step_decay, intervals: [{end: 300, lr: 3.4}, {lr: 2x}]}",
)


def values(step: int) -> dict[str, float]:
    """What the schedules say of a step, worked out without them."""
    return {
        "critic.weight_decay": 1e-3,
        "discount": 0.9 + 0.09 * step / FRAMES,
        "actor.beta1": 0.5 if step < 300 else 0.9,
        "critic_target_tau": 0.05 * (1 + np.cos(np.pi * step / FRAMES)),
        "update_every_steps": 3 if step < 300 else 4,
    }


@pytest.fixture(scope="module", params=["in_turn", "beside"])
def traced(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Any]]:
    """A training's folder, and of each update its step, what the agent held in it, and the batch's discounts."""
    steps: list[int] = []
    updates: list[Any] = []

    def holding(method: str) -> Any:
        original = getattr(DrQV2Agent, method)

        def recorded(agent: DrQV2Agent, *arguments: Any, **named: Any) -> Any:
            made = original(agent, *arguments, **named)
            if method == "update" or arguments[0] == "critic":
                batch = arguments[0] if method == "update" else arguments[1]
                numbers = {
                    "critic.weight_decay": read(agent.optimizers["critic"], "weight_decay"),
                    "critic_target_tau": agent.critic_target_tau,
                    "discount": batch.discount.max().item(),
                }
                if method == "update":
                    numbers["actor.beta1"] = read(agent.optimizers["actor"], "beta1")
                    numbers["actor"] = named["actor"]
                updates.append(numbers)
            return made

        return recorded

    before = Records.before_update

    def numbered(records: Records, step: int) -> None:
        steps.append(step)
        before(records, step)

    run = tmp_path_factory.mktemp(request.param) / "run"
    more = ("parallel=true", "critic_observation=privileged") if request.param == "beside" else ()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(DrQV2Agent, "update", holding("update"))
        patch.setattr(DrQV2Agent, "update_frozen", holding("update_frozen"))
        patch.setattr(Records, "before_update", numbered)
        assert train(run, *RUN, *SCHEDULES, *more) == 0
    return run, list(zip(steps, updates, strict=True))


def test_updates_fall_on_the_multiples_of_what_is_scheduled(traced: tuple[Path, list[Any]]) -> None:
    steps = [step for step, _ in traced[1]]
    assert steps == [*range(102, 300, 3), *range(300, 601, 4)]
    actors = [step for step, held in traced[1] if held.get("actor", True)]
    if len(actors) < len(steps):  # where they are told
        assert actors == [*range(102, 300, 6), *(step for step in range(300, 601, 4) if step // 4 % 2 == 0)]


def test_each_update_has_the_values_of_its_step(traced: tuple[Path, list[Any]]) -> None:
    for step, held in traced[1]:
        expected = values(step)
        for name in held.keys() - {"actor"}:
            assert held[name] == pytest.approx(expected[name], rel=1e-6, abs=1e-12), (step, name)


def test_the_log_has_what_was_in_force(traced: tuple[Path, list[Any]]) -> None:
    table = read_csv_table(traced[0] / "train.csv")
    assert 299 not in table["frame"]
    for i, frame in enumerate(table["frame"].astype(int).tolist()):
        for name, expected in values(frame).items():
            assert table[f"schedules/{name}"][i] == pytest.approx(expected, rel=1e-12, abs=1e-15), (frame, name)
    # Where one jumps there are rows of the updates on both sides.
    assert {297, 300} <= set(table["frame"].astype(int).tolist())


def test_an_unscheduled_training_logs_none(tmp_path: Path) -> None:
    assert train(tmp_path / "run", *RUN) == 0
    columns = read_csv_table(tmp_path / "run" / "train.csv")
    assert not [name for name in columns if name.startswith("schedules/")]


def test_optimizers_begin_anew_or_count_anew() -> None:
    agent, batch = make_agent(), make_batch()
    for _ in range(3):
        agent.update(batch, 0.1)
    moments = {
        name: [{key: tensor.clone() for key, tensor in state.items()} for state in optimizer.state.values()]
        for name, optimizer in agent.optimizers.items()
    }
    agent.reset_optimizer("critic", moments=True)
    agent.reset_optimizer("actor", moments=False)
    for name, optimizer in agent.optimizers.items():
        for before, now in zip(moments[name], optimizer.state.values(), strict=True):
            assert now["step"] == (3 if name == "encoder" else 0)
            for key in ("exp_avg", "exp_avg_sq"):
                expected = torch.zeros_like(before[key]) if name == "critic" else before[key]
                assert torch.equal(now[key], expected)
