"""Ray Tune's population-based training, made to survive a restored search."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ray.tune.result import TRAINING_ITERATION
from ray.tune.schedulers import PopulationBasedTraining

if TYPE_CHECKING:
    from ray.tune.execution.tune_controller import TuneController
    from ray.tune.experiment import Trial


class Population(PopulationBasedTraining):  # type: ignore[misc]
    """Compares all trials whenever all have come to the same iteration; Ray's ``synch=True``.

    Ray doesn't save a scheduler's state: a restored one takes all trials for new, and after their next iteration waits
    forever (ray 2.60). This one takes up where the trials are.
    """

    _took_up = False

    def choose_trial_to_run(self, tune_controller: TuneController) -> Trial | None:
        """Return the trial to run next."""
        if not self._took_up:
            self._took_up = True
            self._take_up(tune_controller.get_live_trials())
        return super().choose_trial_to_run(tune_controller)

    def _take_up(self, trials: set[Trial]) -> None:
        """Take over how far restored trials are. Those that are ahead wait; where none is, all go on."""
        done = {trial: trial.last_result.get(TRAINING_ITERATION, 0) for trial in trials}
        if not any(done.values()):
            return
        for trial, iteration in done.items():
            if iteration:
                self._save_trial_state(self._trial_state[trial], iteration, trial.last_result, trial)
        latest = max(done.values())
        self._next_perturbation_sync = latest if min(done.values()) < latest else latest + 1
