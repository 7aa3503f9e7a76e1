"""Fly an exported policy in the landing task with onnxruntime: python examples/fly_onnx.py policy.onnx 100."""

import json
import sys
from pathlib import Path

import gymnasium
import numpy as np
import onnxruntime

import glideslope.envs  # noqa: F401  registers the task

FIRST = 1_254_500_000  # the scenario that evaluate.py begins with


def fly(path: Path, episodes: int) -> dict[int, bool]:
    about = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    landed: dict[int, bool] = {}
    env = gymnasium.make_vec(
        **about["environment"], num_envs=min(episodes, 20), vectorization_mode="vector_entry_point"
    )
    observation, _ = env.reset(options={"scenario_seeds": range(FIRST, FIRST + episodes)})
    while len(landed) < episodes:
        (actions,) = session.run(["action"], {given.name: observation[given.name] for given in session.get_inputs()})
        observation, _, terminated, truncated, infos = env.step(actions)
        for i in np.flatnonzero(terminated | truncated):
            final = infos["final_info"]
            landed[int(final["scenario"][i])] = bool(final["success"][i])
    env.close()
    return landed


if __name__ == "__main__":
    landed = fly(Path(sys.argv[1]), int(sys.argv[2]))
    print(f"{sum(landed.values())} of {len(landed)} landed")
