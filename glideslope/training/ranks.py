"""The processes that train one policy together (torch.distributed): which one this is, and what they exchange.

Each has an equal share of environments, replay buffer and batches, and draws what one process would draw for it.
Gradients are averaged, so networks and optimizers stay the same everywhere; the outcomes of episodes are gathered, so
curriculum, schedules and clock do too. The first process alone writes: one folder, and snapshots of the whole.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, Literal, TypeVar

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray
from torch import Tensor

from glideslope.agent import Average
from glideslope.envs.physics import usable_processors
from glideslope.errors import UserError, listed
from glideslope.lr_scheduler import ScheduleError
from glideslope.settings import WHOLE, Settings, Share

T = TypeVar("T")
Lane = Literal["critic", "actor"]

_LONGEST_START = timedelta(minutes=5)  # from the first process to the last
_LONGEST_WAIT = timedelta(hours=2)  # of the others for the first one: it films, or writes to a slow disk


class LostRankError(UserError):
    """Another of the processes has ended, or can't be reached."""


class Ranks:
    """The processes of a training; by default it has one, and nothing is exchanged.

    All of them make the same calls in the same order.

    Attributes:
        share: what this process has of the training.
        on_host: how many of the processes run on this host.
        local: the number of this one among them.
    """

    def __init__(self, share: Share = WHOLE, *, local: int = 0, on_host: int = 1) -> None:
        self.share, self.local, self.on_host = share, local, on_host
        self._lanes: dict[Lane, dist.ProcessGroup | None] = {"critic": None, "actor": None}
        if share.count > 1:
            # Updates of critic and actor may run on two threads, whose exchanges must not mix.
            self._lanes = {lane: dist.new_group(timeout=_LONGEST_WAIT) for lane in self._lanes}

    @property
    def is_first(self) -> bool:
        """Whether this process writes the run's folder and shows its progress."""
        return self.share.rank == 0

    @property
    def average(self) -> Average | None:
        """What replaces tensors by their means over all processes, in place; None for one process."""
        return None if self.share.count == 1 else self._average

    def _average(self, tensors: Sequence[Tensor], lane: Lane) -> None:
        flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
        with _lost():
            dist.all_reduce(flat, group=self._lanes[lane])
        flat.div_(self.share.count)
        parts = torch.split(flat, [tensor.numel() for tensor in tensors])
        torch._foreach_copy_(list(tensors), [part.view_as(t) for part, t in zip(parts, tensors, strict=True)])

    def means(self, measures: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Return the means over all processes of 0-d tensors."""
        if self.share.count == 1 or not measures:
            return measures
        values = torch.stack([value.detach().to(torch.float32) for value in measures.values()])
        self._average([values], "critic")
        return dict(zip(measures, values.unbind(), strict=True))

    def rows(self, own: Mapping[str, NDArray[Any]]) -> Mapping[str, NDArray[Any]]:
        """Return the rows (N, ...) of all processes, in order, of which each gives an equal number; numbers and flags.

        The arrays have one dimension. Floats of 64 bits carry them, which is exact for whole numbers up to 2^53.
        """
        if self.share.count == 1:
            return own
        mine = torch.from_numpy(np.stack([np.asarray(values, np.float64) for values in own.values()]))
        everybody = [torch.empty_like(mine) for _ in range(self.share.count)]
        with _lost():
            dist.all_gather(everybody, mine)
        whole = torch.cat(everybody, dim=1).numpy()
        return {key: row.astype(values.dtype) for (key, values), row in zip(own.items(), whole, strict=True)}

    def any(self, own: bool) -> bool:
        """Return whether it is true of any process."""
        return bool(self.rows({"": np.array([own])})[""].any())

    def gather(self, own: T) -> list[T]:
        """Return what each process gives, in order."""
        if self.share.count == 1:
            return [own]
        everybody: list[Any] = [None] * self.share.count
        with _lost():
            dist.all_gather_object(everybody, own)
        return everybody

    def to_first(self, own: T) -> list[T]:
        """Return to the first process what each gives, in order; to the others what they give."""
        if self.share.count == 1:
            return [own]
        everybody: list[Any] | None = [None] * self.share.count if self.is_first else None
        with _lost():
            dist.gather_object(own, everybody)
        return [own] if everybody is None else everybody

    def from_first(self, own: T) -> T:
        """Return what the first process gives."""
        if self.share.count == 1:
            return own
        told: list[Any] = [own]
        with _lost():
            dist.broadcast_object_list(told)
        return told[0]

    def by_first(self, action: Callable[[], T]) -> T:
        """Let the first process do something and return its result; all raise the user's fault that it finds.

        Raises:
            UserError, ScheduleError: the action does.
        """
        if self.share.count == 1:
            return action()
        done: T | None = None
        fault: Exception | None = None
        if self.is_first:
            try:
                done = action()
            except (UserError, ScheduleError) as error:
                fault = error
        done, told = self.from_first((done, str(fault or "")))
        if told:
            raise fault or UserError(told)
        return done  # type: ignore[return-value]

    def wait(self) -> None:
        """Wait until all processes are here."""
        if self.share.count > 1:
            with _lost():
                dist.barrier()

    def own(self, settings: Settings) -> Settings:
        """Return the settings of this process's share; all processors are the host's, of which it has its part."""
        own = self.share.of(settings)
        if self.share.count == 1 or own.num_threads:
            return own
        return own.model_copy(update={"num_threads": max(1, usable_processors() // self.on_host)})


ALONE = Ranks()
"""A training in one process."""


@contextmanager
def joined(environment: Mapping[str, str], device: str) -> Iterator[Ranks]:
    """Join the processes that torchrun, or another launcher with its environment variables, has started.

    Args:
        environment: the variables.
        device: where networks are trained: `auto`, `cpu` or `cuda`.

    Raises:
        UserError: they can't be reached, or a variable is missing.
    """
    count = int(environment.get("WORLD_SIZE", "1"))
    if count == 1:
        yield ALONE
        return
    missing = [name for name in ("RANK", "MASTER_ADDR", "MASTER_PORT") if name not in environment]
    if missing:
        raise UserError(
            f"WORLD_SIZE={count} asks for {count} processes, but {listed(missing, 'and')} "
            f"{'is' if len(missing) == 1 else 'are'} not set: start them with torchrun, or unset WORLD_SIZE"
        )
    rank, local = int(environment["RANK"]), int(environment.get("LOCAL_RANK", "0"))
    on_gpu = device != "cpu" and torch.cuda.is_available()
    if on_gpu:
        torch.cuda.set_device(local % torch.cuda.device_count())
    backend = "cpu:gloo,cuda:nccl" if on_gpu else "gloo"
    try:
        store = _store(environment, rank, count)
        dist.init_process_group(backend, store=store, rank=rank, world_size=count, timeout=_LONGEST_WAIT)
        ranks = Ranks(Share(rank, count), local=local, on_host=int(environment.get("LOCAL_WORLD_SIZE", "1")))
    except (RuntimeError, ValueError) as error:
        reason = next(iter(str(error).splitlines()), "")
        raise UserError(f"the processes of this training can't reach each other: {reason}") from error
    try:
        yield ranks
    finally:
        dist.destroy_process_group()


def _store(environment: Mapping[str, str], rank: int, count: int) -> dist.Store:
    """Return the store by which the processes find each other.

    torchrun's own lives on when it restarts them, with addresses that nobody answers at: each attempt has other keys.
    """
    host, port = environment["MASTER_ADDR"], int(environment["MASTER_PORT"])
    hosts = rank == 0 and environment.get("TORCHELASTIC_USE_AGENT_STORE") != "True"
    store = dist.TCPStore(host, port, count, is_master=hosts, timeout=_LONGEST_START, multi_tenant=True)
    return dist.PrefixStore(f"attempt {environment.get('TORCHELASTIC_RESTART_COUNT', 0)}", store)


@contextmanager
def _lost() -> Iterator[None]:
    """Tell a failed exchange as what it is: another process has ended."""
    try:
        yield
    except RuntimeError as error:
        reason = next(iter(str(error).splitlines()), "")
        raise LostRankError(f"another process of this training has ended ({reason})") from error
