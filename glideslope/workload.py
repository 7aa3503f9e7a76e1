"""Counts the work that a run still has to do, as :mod:`glideslope.time_left` needs it."""

from __future__ import annotations

from typing import Literal

from glideslope.settings import Settings
from glideslope.time_left import Work

FILM_EPISODES = 3
_MOST_SCORING_ENVS = 32


def scoring_envs(settings: Settings) -> int:
    """Return the number of environments that evaluations run at once."""
    return min(settings.num_eval_episodes, _MOST_SCORING_ENVS)


def film_episodes(settings: Settings) -> int:
    """Return the number of episodes filmed at the end: a short evaluation gets a short film."""
    return min(FILM_EPISODES, max(1, settings.final_eval_episodes // 4)) if settings.save_video else 0


def film_pictures(settings: Settings, episode_length: float | None = None) -> float:
    """Return the number of pictures drawn for the film, of episodes of this mean length, in steps, if it is known."""
    if episode_length is None:
        episode_length = 0.75 * longest_episode(settings)
    return film_episodes(settings) * (1.0 + episode_length * settings.action_repeat)


def longest_episode(settings: Settings) -> float:
    """Return the environment steps of an episode that times out."""
    return settings.task.episode_decisions / settings.action_repeat


def scoring_steps(episodes: int, envs: int, longest: float) -> float:
    """Return the vector steps that ``episodes`` on ``envs`` environments take, about.

    The last episodes include one that times out; those before them last half as long, on average.
    """
    return longest * (1.0 + 0.5 * max(episodes / envs - 1.0, 0.0))


def work_left(
    settings: Settings,
    frame: int,
    *,
    stage: int = 0,
    changes: int = 0,
    due: Literal["stage", "all stages"] | None = None,
    episode_length: float | None = None,
) -> Work:
    """Return the work from ``frame`` on to the end of the run, the final evaluation and the film included.

    Args:
        settings: the run's settings.
        frame: frames done.
        stage: the curriculum's stage.
        changes: how often the stage has changed.
        due: the evaluation to be made before the next frame.
        episode_length: mean steps of the latest evaluation's episodes.
    """
    total, seed = settings.num_train_frames, min(settings.num_seed_frames, settings.num_train_frames)
    every = settings.eval_every_frames
    stages = settings.curriculum.last_stage + 1
    # At the end of training every stage is scored in place of the current one alone.
    periodic = max((total - 1) // every - frame // every, 0) + (due == "stage")
    of_all = _changes_left(settings, frame, stage, changes) + (frame < total) + (due == "all stages")
    envs, longest = scoring_envs(settings), longest_episode(settings)
    one = scoring_steps(settings.num_eval_episodes, envs, longest)
    final = scoring_steps(settings.final_eval_episodes, envs, longest)
    snapshots = total // settings.snapshot_every_frames - frame // settings.snapshot_every_frames
    return {
        "collect": max(seed - frame, 0),
        "learn": max(total - max(frame, seed), 0),
        "evaluate": (periodic + stages * of_all) * one + stages * final,
        "film": film_pictures(settings, episode_length),
        "save": max(snapshots, 0) + (frame < total),
        "draw": 1.0,
    }


def _changes_left(settings: Settings, frame: int, stage: int, changes: int) -> float:
    """Return the expected number of stage changes still to come.

    At first they are expected to spread evenly over training; then as often as so far.
    """
    curriculum, left = settings.curriculum, settings.num_train_frames - frame
    pace = (curriculum.last_stage + changes) / (settings.num_train_frames + frame)
    # While a stage is not mastered, most of its episodes time out.
    episodes = max(curriculum.min_episodes, curriculum.min_stage_episodes)
    fastest = left // max(episodes * settings.task.episode_decisions, 1)
    return min(curriculum.last_stage - stage, left * pace, fastest)
