"""What keeps Hydra from composing a configuration, as a fault of one line."""

from __future__ import annotations

from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from glideslope.errors import UNSET, Fault
from glideslope.settings.yaml_files import YamlError

CONFIG_FAULTS = (HydraException, OmegaConfBaseException, YamlError)
# Hydra and OmegaConf report some malformed overrides, such as a.x=1 for a list a, with Python's own errors.
COMPOSITION_FAULTS = (*CONFIG_FAULTS, ValueError, TypeError)


def explain(error: Exception) -> Fault:
    """Return what a message of Hydra's, OmegaConf's or a file reader's says, in one line."""
    if isinstance(error, YamlError):
        return Fault("", UNSET, str(error))
    source = error.__cause__ if isinstance(error.__cause__, OmegaConfBaseException) else error
    text = str(source).partition("Config search path")[0]
    details = ("See https", "full_key:", "object_type=", "reference_type=")
    lines = [line.strip() for line in text.splitlines() if not line.strip().startswith(details)]
    about = str(getattr(source, "full_key", None) or "")
    return Fault(about, UNSET, " ".join(" ".join(lines).split()))
