"""Settings as frozen, checked objects: a plain mapping in, settings out, or a report of every fault in it.

One module for each schema; this one holds the names that the rest of the program uses. A field's description is the
text below it: `Settings.model_fields["lr"].description`.

>>> from glideslope.errors import SettingsError
>>> try:
...     TaskSettings.from_config({"image_sise": 64, "pad_size": -1})
... except SettingsError as error:
...     print(error)
pad_size=-1: must be greater than 0
image_sise=64: unknown key; did you mean image_size?
"""

from glideslope.settings.comparison import CompareSettings
from glideslope.settings.curriculum import FULL_TASK, CurriculumSettings, StageSettings, select_stages
from glideslope.settings.evaluation import NO_MOVING_PATHS, EvaluateSettings, Point, SweepSettings
from glideslope.settings.networks import (
    KERNEL,
    ActorCriticSettings,
    AgentSettings,
    AnyActorCriticSettings,
    AttentionActorCriticSettings,
    AttentionSettings,
    AutoregressiveActorSettings,
    ConvEncoderSettings,
    CrossAttentionEncoderSettings,
    EncoderSettings,
    PatchEncoderSettings,
    StateEncoderSettings,
    least_image_size,
)
from glideslope.settings.preview import PreviewSettings
from glideslope.settings.task import RewardSettings, TaskSettings
from glideslope.settings.training import CommandSettings, Settings

__all__ = [
    "FULL_TASK",
    "KERNEL",
    "NO_MOVING_PATHS",
    "ActorCriticSettings",
    "AgentSettings",
    "AnyActorCriticSettings",
    "AttentionActorCriticSettings",
    "AttentionSettings",
    "AutoregressiveActorSettings",
    "CommandSettings",
    "CompareSettings",
    "ConvEncoderSettings",
    "CrossAttentionEncoderSettings",
    "CurriculumSettings",
    "EncoderSettings",
    "EvaluateSettings",
    "PatchEncoderSettings",
    "Point",
    "PreviewSettings",
    "RewardSettings",
    "Settings",
    "StageSettings",
    "StateEncoderSettings",
    "SweepSettings",
    "TaskSettings",
    "least_image_size",
    "select_stages",
]
