"""Measures on this machine, with throw-away parts, what each kind of work of a run costs."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing
from statistics import median

import torch

from glideslope.build import make_agent, make_env, replay_bytes, zero_batch
from glideslope.display.time_left import Costs
from glideslope.display.workload import film_pictures, landing_length, scoring_envs
from glideslope.envs.gym import LandingVectorEnv
from glideslope.envs.physics import usable_processors
from glideslope.settings import Settings

_MEASURE_SECONDS = 2.0  # for each kind, if two runs of it take no longer
# On an idle core:
_DRAW_SECONDS = 1.5  # the pictures at the end, half of it for loading Matplotlib
_FILM_SECONDS = 2.0  # before the first picture of a film
_ENCODE_SECONDS = 0.045  # of a picture of a film
_WRITE_BYTES_PER_SECOND = 200e6


def measure_costs(settings: Settings, device: str) -> Costs:
    """Return seconds per unit of each kind of work (see :mod:`glideslope.display.time_left`)."""
    agent = make_agent(settings, device)
    began, worked = time.perf_counter(), time.process_time()

    def fly(env: LandingVectorEnv, filmed: bool = False) -> None:
        env.step(agent.act(env.observations(), 1.0).cpu().numpy())
        if filmed:
            env.chase_view(0)

    def vector_step(count: int) -> float:
        with closing(make_env(settings, count, settings.curriculum.stages[0], device)) as env:
            env.reset(seed=0)
            return _seconds(lambda: fly(env), device)

    def picture() -> float:
        with closing(make_env(settings, 1, settings.curriculum.stages[0], device, film=True)) as env:
            env.reset(seed=0)
            return _seconds(lambda: fly(env, filmed=True), device)

    cores = usable_processors()
    scoring = scoring_envs(settings) if cores > 1 else (sum(scoring_envs(settings)),)
    step = {count: vector_step(count) for count in {settings.num_envs, scoring[0]}}
    batch = zero_batch(settings).to(agent.device)
    update = _seconds(lambda: agent.update(batch, 1.0), device)
    critic = _seconds(lambda: agent.update(batch, 1.0, actor=False), device) if _is_split(settings) else update
    frames = settings.num_envs * settings.action_repeat  # of a vector step
    collect, count = step[settings.num_envs], settings.num_envs / settings.update_every_steps
    critics, actors = critic * count, max(update - critic, 0.0) * count / settings.actor_every_updates
    if not settings.parallel or cores == 1:  # which does one thing after the other all the same
        learn = collect + critics + actors
    elif settings.critic_observation == "privileged":
        learn = max(collect + actors, critics)
    else:
        learn = max(collect, critics + actors)
    weights = 4 * sum(p.numel() for network in agent.networks.values() for p in network.parameters())
    interval = min(settings.snapshot_every_frames, settings.num_train_frames) / settings.replay_buffer_size
    # A snapshot has weights, target weights and two moments, and the replay buffer's new part.
    saved = 4 * weights + min(interval, 1.0) * replay_bytes(settings)
    film = picture() if settings.save_video else 0.0
    # By how much other programs slow this one down.
    busy = max((time.perf_counter() - began) / max(time.process_time() - worked, 1e-3), 1.0)
    if film:
        film += busy * (_ENCODE_SECONDS + _FILM_SECONDS / film_pictures(settings, landing_length(settings)))
    return {
        "collect": collect / frames,
        "learn": learn / frames,
        "evaluate": step[scoring[0]],
        "film": film,
        "save": saved / _WRITE_BYTES_PER_SECOND,
        "draw": busy * _DRAW_SECONDS,
    }


def _is_split(settings: Settings) -> bool:
    """Return whether the updates of critic and actor are counted apart."""
    return settings.actor_every_updates > 1 or settings.critic_observation == "privileged"


def _seconds(action: Callable[[], object], device: str) -> float:
    """Return the median of a few runs; the first one, which may compile something, doesn't count."""
    times: list[float] = []
    began = time.perf_counter()
    while len(times) < 2 or (len(times) < 12 and time.perf_counter() - began < _MEASURE_SECONDS):
        start = time.perf_counter()
        action()
        if device != "cpu":
            torch.cuda.synchronize(device)
        times.append(time.perf_counter() - start)
    return median(times[1:])
