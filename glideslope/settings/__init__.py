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

from glideslope.settings.comparison import CompareSettings as CompareSettings
from glideslope.settings.curriculum import FULL_TASK as FULL_TASK
from glideslope.settings.curriculum import CurriculumSettings as CurriculumSettings
from glideslope.settings.curriculum import StageSettings as StageSettings
from glideslope.settings.curriculum import select_stages as select_stages
from glideslope.settings.evaluation import NO_MOVING_PATHS as NO_MOVING_PATHS
from glideslope.settings.evaluation import SWEPT as SWEPT
from glideslope.settings.evaluation import EvaluateSettings as EvaluateSettings
from glideslope.settings.evaluation import Point as Point
from glideslope.settings.evaluation import SweepSettings as SweepSettings
from glideslope.settings.evaluation import at_point as at_point
from glideslope.settings.export import ExportSettings as ExportSettings
from glideslope.settings.networks import KERNEL as KERNEL
from glideslope.settings.networks import ActorCriticSettings as ActorCriticSettings
from glideslope.settings.networks import AgentSettings as AgentSettings
from glideslope.settings.networks import AnyActorCriticSettings as AnyActorCriticSettings
from glideslope.settings.networks import AttentionActorCriticSettings as AttentionActorCriticSettings
from glideslope.settings.networks import AttentionSettings as AttentionSettings
from glideslope.settings.networks import AutoregressiveActorSettings as AutoregressiveActorSettings
from glideslope.settings.networks import ConvEncoderSettings as ConvEncoderSettings
from glideslope.settings.networks import CrossAttentionEncoderSettings as CrossAttentionEncoderSettings
from glideslope.settings.networks import EncoderSettings as EncoderSettings
from glideslope.settings.networks import PatchEncoderSettings as PatchEncoderSettings
from glideslope.settings.networks import StateEncoderSettings as StateEncoderSettings
from glideslope.settings.networks import least_image_size as least_image_size
from glideslope.settings.play import PlaySettings as PlaySettings
from glideslope.settings.preview import PreviewSettings as PreviewSettings
from glideslope.settings.search import SearchSettings as SearchSettings
from glideslope.settings.share import WHOLE as WHOLE
from glideslope.settings.share import Share as Share
from glideslope.settings.task import REWARD_TERMS as REWARD_TERMS
from glideslope.settings.task import RandomizationSettings as RandomizationSettings
from glideslope.settings.task import RewardSettings as RewardSettings
from glideslope.settings.task import TaskSettings as TaskSettings
from glideslope.settings.training import NETWORKS as NETWORKS
from glideslope.settings.training import CommandSettings as CommandSettings
from glideslope.settings.training import OnStageSettings as OnStageSettings
from glideslope.settings.training import Settings as Settings
