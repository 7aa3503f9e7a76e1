"""The runs of the study: what each part trains, and how often."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from glideslope.settings import NETWORKS

PRESETS = (
    *("constant", "gentle_decay", "aggressive_decay", "exponential_smooth"),
    *("stage_based", "differential", "warmup_cosine"),
)
PAIR = ("constant", "gentle_decay")
# At the base rate: the constant one, what make train has, the two best presets from the state, and the worst.
CHOSEN = ("constant", "gentle_decay", "warmup_cosine", "stage_based", "aggressive_decay")
DECAYS = ("constant", "gentle_decay", "aggressive_decay", "warmup_cosine")
# What these runs can do without. It changes nothing of what they learn, but which snapshot counts as the best.
_LEAN = ("num_eval_episodes=30", "final_eval_episodes=50", "save_video=false", "keep_replay=false")
_STATE = ("profile=state", "curriculum_preset=balanced", *_LEAN)
FRAMES = 24_000
STATE = (*_STATE, f"num_train_frames={FRAMES}", "eval_every_frames=1500")
# What make train runs.
_CPU = ("profile=cpu", *_LEAN, "eval_every_frames=3000")
PIXELS = (*_CPU, "curriculum_preset=quick")
# A stage alone -> the settings that play it from the start to the end.
ALONE = {
    "S0_lock": ("curriculum_preset=balanced", "curriculum.last_stage=0"),
    "S4_full": ("curriculum_preset=none",),
}
LONGER = (*_STATE, f"num_train_frames={3 * FRAMES}", "eval_every_frames=3000")


@dataclass(frozen=True)
class Run:
    """One training."""

    block: str
    schedule: str
    seed: int
    overrides: tuple[str, ...]

    @property
    def key(self) -> tuple[str, str, int]:
        """What tells a run of a part from its others."""
        return self.block, self.schedule, self.seed


@dataclass(frozen=True)
class Block:
    """Trainings that differ in their schedule and seed alone."""

    name: str
    title: str
    overrides: tuple[str, ...]
    schedules: tuple[str, ...]
    seeds: Sequence[int]

    def runs(self) -> Iterator[Run]:
        """Yield every run, all schedules of a seed before the next seed."""
        for seed in self.seeds:
            for schedule in self.schedules:
                yield Run(self.name, schedule, seed, (f"lr_schedule={schedule}", *self.overrides, f"seed={seed}"))


def _alone(network: str) -> Block:
    """Decay one network's rate as `aggressive_decay` does, and keep the others' constant."""
    others = [f"lr_schedule.{other}=null" for other in NETWORKS if other != network]
    return Block(network, f"only the {network}", (*PIXELS, *others), ("aggressive_decay",), range(1, 6))


def _presets(name: str, words: Sequence[str], seeds: int) -> Block:
    return Block(name, f"base rate × {name}", (*STATE, *words), PRESETS, range(1, seeds + 1))


PARTS: dict[str, tuple[Block, ...]] = {
    "presets": (
        _presets("1", (), 10),
        _presets("0.3", ("lr=9.0e-5",), 5),
        _presets("3", ("lr=9.0e-4",), 5),
    ),
    "pixels": (
        Block("all", "every network", PIXELS, CHOSEN, range(1, 6)),
        *(_alone(network) for network in NETWORKS),
    ),
    "longer": (Block("3x", "three times the frames", LONGER, DECAYS, range(1, 6)),),
    "knobs": (
        Block("batch", "batch × 4", (*STATE, "batch_size=512"), PAIR, range(1, 6)),
        Block("updates", "twice the updates", (*STATE, "update_every_steps=2"), PAIR, range(1, 6)),
    ),
    "alone": tuple(
        Block(stage, f"`{stage}` alone", (*_CPU, *words), ("constant",), range(1, 4)) for stage, words in ALONE.items()
    ),
}
# What peer.py trains: another library's agent, in the environments that these words give ours.
PEER = tuple(Block(stage, f"`{stage}` alone", (*_CPU, *words), ("sac",), range(1, 4)) for stage, words in ALONE.items())


def blocks_of(part: str) -> tuple[Block, ...]:
    """Return the blocks of a part, the peer's included."""
    return PEER if part == "peer" else PARTS[part]
