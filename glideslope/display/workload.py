"""Counts the work that a run still has to do, as :mod:`glideslope.display.time_left` needs it."""

from __future__ import annotations

from glideslope.display.time_left import Work
from glideslope.settings import Settings, StateEncoderSettings

FILM_EPISODES = 3
_MOST_SCORING_ENVS = 32
_LANDING_SECONDS = 4.0  # of a trained policy, measured with profile=state and profile=cpu
# Learning frames in which a policy that times out becomes one that lands, about.
_LEARNING_FRAMES = {True: 150, False: 5000}  # by whether it sees the state


def scoring_envs(settings: Settings) -> tuple[int, ...]:
    """Return the numbers of environments that evaluations run at once: with `parallel` on two threads, else on one."""
    count = min(settings.num_eval_episodes, _MOST_SCORING_ENVS)
    return ((count + 1) // 2, count // 2) if settings.parallel and count > 1 else (count,)


def film_episodes(settings: Settings) -> int:
    """Return the number of episodes filmed at the end: a short evaluation gets a short film."""
    return min(FILM_EPISODES, max(1, settings.final_eval_episodes // 4)) if settings.save_video else 0


def film_pictures(settings: Settings, episode_length: float) -> float:
    """Return the number of pictures drawn for the film, of episodes of this mean length in steps."""
    return film_episodes(settings) * (1.0 + episode_length * settings.action_repeat)


def longest_episode(settings: Settings) -> float:
    """Return the environment steps of an episode that times out."""
    return settings.task.episode_decisions / settings.action_repeat


def landing_length(settings: Settings) -> float:
    """Return the environment steps that a landing takes, about."""
    return longest_episode(settings) * min(_LANDING_SECONDS / settings.task.episode_seconds, 1.0)


def scoring_steps(episodes: int, envs: int, length: float, longest: float) -> float:
    """Return the vector steps that ``episodes`` of a mean ``length`` on ``envs`` environments take, about.

    The environments don't come to the end together. If all episodes are as long as the ``longest``, they do.
    """
    return min(length * (episodes / envs + 0.5), longest * -(-episodes // envs))


def work_left(
    settings: Settings,
    frame: int,
    *,
    stage: int = 0,
    changes: int = 0,
    due: int = 0,
    final: int | None = None,
    episode_length: float | None = None,
) -> Work:
    """Return the work from ``frame`` on to the end of the run, the final evaluation and the film included.

    Args:
        changes: how often the curriculum's stage has changed.
        due: how many stages are to be scored before the next frame.
        final: how many stages the final evaluation still has to score; all of them by default.
        episode_length: mean steps of recent episodes.
    """
    total, seed = settings.num_train_frames, min(settings.num_seed_frames, settings.num_train_frames)
    every = settings.eval_every_frames
    stages = settings.curriculum.last_stage + 1
    # At the end of training every stage is scored in place of the current one alone.
    periodic = max((total - 1) // every - frame // every, 0)
    left = _changes_left(settings, frame, stage, changes)
    # Where a stage is entered, that and those before it are scored.
    of_all = left * (stage + 1) + left * (left + 1) / 2 + stages * (frame < total)
    envs, longest = sum(scoring_envs(settings)), longest_episode(settings)
    present, last = _lengths(settings, frame, episode_length)
    on_the_way = scoring_steps(settings.num_eval_episodes, envs, (present + last) / 2.0, longest)
    at_the_end = scoring_steps(settings.num_eval_episodes, envs, last, longest)
    held_out = scoring_steps(settings.final_eval_episodes, envs, last, longest)
    now = scoring_steps(settings.num_eval_episodes, envs, present, longest)
    snapshots = total // settings.snapshot_every_frames - frame // settings.snapshot_every_frames
    return {
        "collect": max(seed - frame, 0),
        "learn": max(total - max(frame, seed), 0),
        "evaluate": due * now
        + periodic * on_the_way
        + of_all * at_the_end
        + (stages if final is None else final) * held_out,
        "film": film_pictures(settings, last),
        "save": max(snapshots, 0) + (frame < total),
        "draw": 1.0,
    }


def _lengths(settings: Settings, frame: int, recent: float | None) -> tuple[float, float]:
    """Return the mean length of episodes now and, as far as training continues, at its end."""
    longest, landing = longest_episode(settings), landing_length(settings)
    if recent is None:
        recent = longest if frame <= settings.num_seed_frames else (longest + landing) / 2.0
    left = settings.num_train_frames - max(frame, settings.num_seed_frames)
    learned = left / (left + _LEARNING_FRAMES[isinstance(settings.agent.encoder, StateEncoderSettings)])
    # Episodes that end early, by a crash, don't get shorter.
    return recent, recent * (min(landing, recent) / recent) ** max(learned, 0.0)


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
