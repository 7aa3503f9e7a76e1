"""DDPG of skrl, which makes a scheduler for each of its two optimizers from a class and its arguments."""

import gymnasium
from skrl.agents.torch.ddpg import DDPG, DDPG_CFG
from skrl.envs.wrappers.torch import wrap_env
from skrl.memories.torch import RandomMemory
from skrl.trainers.torch import SequentialTrainer
from skrl.utils.model_instantiators.torch import deterministic_model

from glideslope.lr_scheduler import build_schedules, load_preset, read_lr
from glideslope.lr_scheduler.torch_scheduler import ScheduledLR

env = wrap_env(gymnasium.make("Pendulum-v1"))
spaces = {"observation_space": env.observation_space, "action_space": env.action_space, "device": env.device}
layers = {"name": "net", "layers": [32], "activations": "relu"}
policy, critic = layers | {"input": "OBSERVATIONS"}, layers | {"input": "concatenate([OBSERVATIONS, ACTIONS])"}
outputs = {"policy": (policy, "ACTIONS"), "critic": (critic, "ONE")}
outputs |= {f"target_{name}": output for name, output in outputs.items()}
models = {name: deterministic_model(**spaces, network=[net], output=out) for name, (net, out) in outputs.items()}

preset = load_preset("gentle_decay", networks=["actor", "critic"])
schedules = build_schedules(preset, base={"actor": 3e-4, "critic": 1e-3}, total_steps=200)
arguments = tuple({"schedule": schedules[name]} for name in ("actor", "critic"))
config = DDPG_CFG(learning_rate_scheduler=ScheduledLR, learning_rate_scheduler_kwargs=arguments)
config.experiment.write_interval = config.experiment.checkpoint_interval = 0
agent = DDPG(models=models, memory=RandomMemory(memory_size=1000), cfg=config, **spaces)
SequentialTrainer(env=env, agents=agent, cfg={"timesteps": 200, "disable_progressbar": True}).train()
print([read_lr(optimizer) for optimizer in (agent.policy_optimizer, agent.critic_optimizer)])
