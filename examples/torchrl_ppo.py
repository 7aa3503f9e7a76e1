"""PPO of TorchRL: the rates of actor and critic are written before each update, by the frames collected so far."""

import torch
from tensordict.nn import NormalParamExtractor, TensorDictModule
from torchrl.collectors import Collector
from torchrl.envs import GymEnv
from torchrl.modules import ProbabilisticActor, TanhNormal, ValueOperator
from torchrl.objectives import ClipPPOLoss
from torchrl.objectives.value import GAE

from glideslope.lr_scheduler import LiveSchedules, build_schedules, load_preset, read_lr

layers = torch.nn.Sequential(torch.nn.Linear(3, 2), NormalParamExtractor())
body = TensorDictModule(layers, ["observation"], ["loc", "scale"])
actor = ProbabilisticActor(body, ["loc", "scale"], distribution_class=TanhNormal, return_log_prob=True)
critic = ValueOperator(torch.nn.Linear(3, 1), ["observation"])
loss, advantage = ClipPPOLoss(actor, critic), GAE(gamma=0.99, lmbda=0.95, value_network=critic)
optimizers = {"actor": torch.optim.Adam(actor.parameters()), "critic": torch.optim.Adam(critic.parameters())}
preset = load_preset("gentle_decay", networks=list(optimizers))
live = LiveSchedules(build_schedules(preset, base={"actor": 3e-4, "critic": 1e-3}, total_steps=600))
for i, batch in enumerate(Collector(GymEnv("Pendulum-v1"), actor, frames_per_batch=100, total_frames=600)):
    live.write(optimizers, step=100 * i)
    losses = loss(advantage(batch))
    sum(losses[key] for key in ("loss_objective", "loss_critic", "loss_entropy")).backward()
    _ = [(optimizer.step(), optimizer.zero_grad()) for optimizer in optimizers.values()]
print([read_lr(optimizer) for optimizer in optimizers.values()])
