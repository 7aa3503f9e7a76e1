"""Films the final policy: landing.mp4 in the run folder."""

from __future__ import annotations

import errno
from collections.abc import Callable, Sequence

from glideslope.display.workload import film_episodes, film_pictures
from glideslope.envs.gym import LandingVectorEnv
from glideslope.evaluation.filming import record_episodes
from glideslope.evaluation.scoring import Act
from glideslope.settings import StageSettings
from glideslope.training.run import TrainingRun

FILM = "landing.mp4"


class NoFilm:
    """Makes no film: the setting `save_video` is off."""

    def __init__(self, run: TrainingRun) -> None:
        self._run, self._path = run, run.folder / FILM

    def remove(self) -> None:
        """Remove the film of an earlier end of this run, which shows another policy."""
        self._run.write(lambda: self._path.unlink(missing_ok=True), "the film")

    def make(self, stage: StageSettings, index: int, seeds: Sequence[int], episode_length: float) -> None:
        """Film the first scenarios of a stage.

        Args:
            stage: the stage.
            index: its index.
            seeds: the scenarios.
            episode_length: mean length of their episodes in steps.
        """


class LandingFilm(NoFilm):
    """Makes the film.

    Args:
        run: what all parts share.
        make_env: makes one environment with views; called where the film is made, as it loads the renderer.
        act: the policy.
    """

    def __init__(self, run: TrainingRun, make_env: Callable[[], LandingVectorEnv], act: Act) -> None:
        super().__init__(run)
        self._make_env, self._act = make_env, act

    def make(self, stage: StageSettings, index: int, seeds: Sequence[int], episode_length: float) -> None:
        """Film the first scenarios of a stage."""
        settings, progress = self._run.settings, self._run.display.progress
        pictures = film_pictures(settings, episode_length)
        chosen = seeds[: film_episodes(settings)]
        progress.plan({"film": pictures, "draw": 1.0})
        with progress.activity("film", "filming", units=pictures):
            self._run.write(lambda: self._record(stage, index, chosen), "the film")

    def _record(self, stage: StageSettings, index: int, seeds: Sequence[int]) -> None:
        env = self._make_env()
        try:
            record_episodes(env, self._act, stage, index, seeds, self._path)
        except (RuntimeError, ValueError) as error:  # of the encoder: no film, but the run is done
            raise OSError(errno.EIO, str(error), str(self._path)) from error
        finally:
            env.close()
