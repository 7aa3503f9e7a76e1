"""A search for learning rates: the training that is trained many times, and how the search goes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field

from glideslope.errors import UNSET
from glideslope.settings.checks import Broken, Count, NonNegative, Positive, Real, SomeFrames, Text
from glideslope.settings.training import Settings

_MOST_EXCHANGES = 8  # of a search that isn't told how many


class SearchSettings(Settings):
    """A training whose learning rates are to be found, and how."""

    method: Literal["pbt", "asha"] = "pbt"
    """How rates are found: by a population that copies its best and varies their rates, or by stopping the worst."""
    population: Annotated[Count, Field(ge=2, le=10_000)] = 4
    """Trainings in the search."""
    exchange_every_frames: SomeFrames | None = None
    """Frames between two comparisons of the trainings; null for the evaluations that make eight of them at most."""
    spread: Annotated[Real, Field(ge=1, le=1000)] = 3.0
    """Largest factor between a base rate and the rates that the search begins with."""
    processors_per_training: Positive = 1.0
    """Processors that a training takes of the cluster."""
    gpus_per_training: NonNegative = 0.0
    """GPUs that a training takes of the cluster, such as 0.25."""
    address: Text | None = None
    """Ray cluster to use, such as auto or host:6379; null starts one on this machine."""

    @property
    def training(self) -> Settings:
        """The training, without what is not needed of a single one of many."""
        plain = {key: value for key, value in self.to_plain().items() if key in Settings.model_fields}
        return Settings.from_config({**plain, "save_video": False, "track": None})

    @property
    def exchange_frames(self) -> int:
        """Frames between two comparisons."""
        evaluations = -(-self.num_train_frames // self.eval_every_frames)
        return self.exchange_every_frames or self.eval_every_frames * -(-evaluations // (_MOST_EXCHANGES + 1))

    @property
    def rate_ranges(self) -> dict[str, tuple[float, float]]:
        """The range of each network's rate that the search begins in."""
        return {
            network: (base / self.spread, min(base * self.spread, 1.0)) for network, base in self.base_rates.items()
        }

    def broken_rules(self) -> Iterator[Broken]:
        yield from super().broken_rules()
        every = self.exchange_frames
        reads = ("num_train_frames", "eval_every_frames")
        if every % self.eval_every_frames:
            rule = f"must be a multiple of eval_every_frames ({self.eval_every_frames}), whose result is compared"
            yield Broken("exchange_every_frames", rule, every, reads)
        elif every >= self.num_train_frames:
            rule = f"must be less than num_train_frames ({self.num_train_frames}), or nothing is compared on the way"
            yield Broken("exchange_every_frames", rule, every, reads)
        if self.method == "pbt" and self.lr_schedule is not None:
            rule = "must be constant with method=pbt, which finds the schedule; method=asha finds base rates for one"
            yield Broken("lr_schedule", rule, UNSET, ("method",))
        for network, (low, _) in self.rate_ranges.items():
            if low <= 0:
                key = self.base_keys[network]
                yield Broken(key, "must be greater than 0: rates are varied by factors", getattr(self, key))
