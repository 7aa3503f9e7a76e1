"""The landing task. Importing this registers ``glideslope/GimbalLanding-v0`` with Gymnasium; nothing heavy loads."""

import gymnasium

ENV_ID = "glideslope/GimbalLanding-v0"


def register() -> None:
    """Make ``gymnasium.make`` and ``gymnasium.make_vec`` know the task."""
    if ENV_ID not in gymnasium.registry:
        gymnasium.register(
            id=ENV_ID,
            entry_point="glideslope.envs.gym:LandingEnv",
            vector_entry_point="glideslope.envs.gym:LandingVectorEnv",
        )


register()
