"""Runs a search on Ray Tune: population-based training (Jaderberg et al. 2017), or asynchronous successive halving."""

from __future__ import annotations

import logging
import os
import random
import signal
from pathlib import Path
from typing import Any

import ray
from ray import tune
from ray.tune.schedulers import AsyncHyperBandScheduler, TrialScheduler
from ray.tune.search.basic_variant import BasicVariantGenerator

from glideslope.envs.physics import usable_processors
from glideslope.errors import UserError
from glideslope.runs.run_folder import finished_frames
from glideslope.settings.search import SearchSettings
from glideslope.training.objective import read_objective
from glideslope.training.search.cluster import require_cluster
from glideslope.training.search.scheduler import Population
from glideslope.training.search.trial import SCORE, TRIALS, Trial

_STATE = "ray"  # Ray Tune's own folder in that of the search
_STORE_BYTES = 80_000_000  # of Ray's object store; nothing large goes through it
_TRIES = 3  # of a training whose process or node died


def search(settings: SearchSettings, folder: Path) -> list[Path]:
    """Run a search, or resume it; return the run folders that finished, the best first.

    Raises:
        UserError: the cluster can't be reached or is too small, or no training finished.
    """
    _connect(settings)
    try:
        _tuner(settings, folder).fit()
    finally:
        ray.shutdown()
    finished = [run for run in trial_folders(settings, folder) if finished_frames(run)]
    if not finished:
        raise UserError(f"no training of the search finished; see {folder / TRIALS}")
    return sorted(finished, key=_rank, reverse=True)


def trial_folders(settings: SearchSettings, folder: Path) -> list[Path]:
    """Return the run folders of a search, whether they are there yet or not."""
    return [folder / TRIALS / f"{number:05}" for number in range(settings.population)]


def _rank(run: Path) -> tuple[float, float]:
    """Return what is larger for a better run: its held-out success, then how near it lands."""
    error = read_objective(run, "touchdown_error_m")
    return read_objective(run, "success_rate") or 0.0, -(error if error is not None else float("inf"))


def _connect(settings: SearchSettings) -> None:
    if settings.address is not None:
        require_cluster("address", settings.address)
    local: dict[str, Any] = {"num_cpus": usable_processors(), "object_store_memory": _STORE_BYTES}
    on_sigterm = signal.getsignal(signal.SIGTERM)
    try:
        ray.init(
            address=settings.address or "local",
            include_dashboard=None if settings.address else False,
            log_to_driver=False,
            logging_level=logging.ERROR,
            **({} if settings.address else local),
        )
    except (ConnectionError, ValueError, RuntimeError) as error:
        reason = next(iter(str(error).splitlines()), "")
        raise UserError(f"address={settings.address}: there is no Ray cluster: {reason}") from error
    finally:
        signal.signal(signal.SIGTERM, on_sigterm)  # Ray's own would end the process at once
    there = ray.cluster_resources()
    for key, kind, needed in (
        ("processors_per_training", "CPU", settings.processors_per_training),
        ("gpus_per_training", "GPU", settings.gpus_per_training),
    ):
        if needed > there.get(kind, 0):
            ray.shutdown()
            raise UserError(f"{key}={needed:g}: the cluster has {there.get(kind, 0):g}")


def _tuner(settings: SearchSettings, folder: Path) -> tune.Tuner:
    os.environ["RAY_CHDIR_TO_TRIAL_DIR"] = "0"
    os.environ["RAY_AIR_NEW_OUTPUT"] = "0"  # prints in spite of verbose=0
    os.environ["TUNE_DISABLE_SIGINT_HANDLER"] = "1"  # else Ctrl-C looks like an end
    os.environ["TUNE_GLOBAL_CHECKPOINT_S"] = "1"  # seconds of the search's own state that a kill may lose
    os.environ["TUNE_DISABLE_AUTO_CALLBACK_LOGGERS"] = "1"  # the runs have logs of their own
    trainable = tune.with_resources(
        tune.with_parameters(
            Trial,
            plain=settings.training.to_plain(),
            folder=str(folder),
            every=settings.exchange_frames,
            pbt=settings.method == "pbt",
        ),
        {"cpu": settings.processors_per_training, "gpu": settings.gpus_per_training},
    )
    state = str(folder / _STATE)
    if tune.Tuner.can_restore(state):
        return tune.Tuner.restore(state, trainable, resume_unfinished=True, resume_errored=True)
    random.seed(settings.seed)  # which Ray's scheduler draws from
    first = {f"lr_{network}": rate for network, rate in settings.base_rates.items()}
    return tune.Tuner(
        trainable,
        param_space={f"lr_{network}": tune.loguniform(*ends) for network, ends in settings.rate_ranges.items()},
        tune_config=tune.TuneConfig(
            metric=SCORE,
            mode="max",
            num_samples=settings.population,
            search_alg=BasicVariantGenerator(points_to_evaluate=[first], random_state=settings.seed),
            scheduler=_scheduler(settings),
            reuse_actors=True,
        ),
        run_config=tune.RunConfig(
            name=_STATE,
            storage_path=str(folder),
            verbose=0,
            checkpoint_config=tune.CheckpointConfig(checkpoint_frequency=1, checkpoint_at_end=False),
            failure_config=tune.FailureConfig(max_failures=_TRIES),
        ),
    )


def _scheduler(settings: SearchSettings) -> TrialScheduler:
    last = -(-settings.num_train_frames // settings.exchange_frames)
    if settings.method == "asha":
        return AsyncHyperBandScheduler(time_attr="training_iteration", max_t=last + 1, reduction_factor=2)
    mutations = {f"lr_{network}": tune.loguniform(*ends) for network, ends in settings.rate_ranges.items()}
    return Population(
        time_attr="training_iteration", perturbation_interval=1, hyperparam_mutations=mutations, synch=True
    )
