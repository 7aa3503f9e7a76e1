"""A loop with an optimizer for each network, as in CleanRL, that is stopped and resumed."""

import tempfile
from pathlib import Path

import torch

from glideslope.lr_scheduler import LiveSchedules, build_schedules, load_preset, read_lr


def train(path: Path, until: int) -> list[float]:
    networks = {"actor": torch.nn.Linear(4, 2), "critic": torch.nn.Linear(4, 1)}
    optimizers = {name: torch.optim.Adam(network.parameters()) for name, network in networks.items()}
    preset, base = load_preset("warmup_cosine", list(networks)), {"actor": 3e-4, "critic": 1e-3}
    live = LiveSchedules(build_schedules(preset, base=base, total_steps=1000))
    parts = [*networks.values(), *optimizers.values(), live]
    start, states = torch.load(path) if path.exists() else (0, [part.state_dict() for part in parts])
    for part, state in zip(parts, states, strict=True):
        part.load_state_dict(state)
    for step in range(start, until):
        live.write(optimizers, step)
        sum(network(torch.full((8, 4), step / 1000)).square().mean() for network in networks.values()).backward()
        _ = [(optimizer.step(), optimizer.zero_grad()) for optimizer in optimizers.values()]
    torch.save((until, [part.state_dict() for part in parts]), path)
    return [read_lr(optimizer) for optimizer in optimizers.values()]


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        print([train(Path(folder) / "state.pt", until) for until in (300, 800)])
