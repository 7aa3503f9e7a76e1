"""Stable-Baselines3's PPO, whose one optimizer gets a rate for the actor and another for the critic."""

from stable_baselines3 import PPO

from glideslope.lr_scheduler import build_schedules, load_preset
from glideslope.lr_scheduler.stable_baselines3 import use_schedules

preset = load_preset("gentle_decay", networks=["actor", "critic"])
schedules = build_schedules(preset, base={"actor": 3e-4, "critic": 1e-3}, total_steps=600)
model = PPO("MlpPolicy", "Pendulum-v1", n_steps=100, batch_size=50, seed=1)
use_schedules(model, schedules)  # again after PPO.load
model.learn(600)
print([group["lr"] for group in model.policy.optimizer.param_groups])
