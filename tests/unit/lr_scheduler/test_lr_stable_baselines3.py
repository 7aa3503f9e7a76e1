"""Schedules in Stable-Baselines3: the rates at every gradient update of real runs, and what is saved and loaded."""

import copy
import doctest
import math
import tempfile

import gymnasium as gym
import numpy as np
import pytest
import torch
from stable_baselines3 import A2C, DDPG, DQN, PPO, SAC, TD3
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from torch import nn

import glideslope.lr_scheduler.stable_baselines3 as adapter
from glideslope.lr_scheduler import build_schedules
from glideslope.lr_scheduler.stable_baselines3 import use_schedules

TOTAL, FIRST = 80, 20  # steps of a run, and those before its first update
CONFIG = {
    "actor": {"type": "linear_decay", "intervals": [{"init_lr": "1x", "final_lr": 0.0}]},
    "critic": {"type": "step_decay", "intervals": [{"end": 50, "lr": "1x"}, {"lr": "0.1x"}]},
    "encoder": {"type": "cosine_decay", "intervals": [{"init_lr": "1x", "final_lr": 0.0}]},
    "ent_coef": {
        "type": "exponential_decay",
        "intervals": [{"init_lr": "1x", "decay_rate": 0.9, "decay_interval": 8}],
    },
}
BASE = {"actor": 3e-4, "critic": 1e-3, "encoder": 2e-4, "ent_coef": 5e-4}
FORMULAS = {
    "actor": lambda step: 3e-4 * (1 - step / TOTAL),
    "critic": lambda step: 1e-3 if step < 50 else 1e-4,
    "encoder": lambda step: 1e-4 * (1 + math.cos(math.pi * step / TOTAL)),
    "ent_coef": lambda step: 5e-4 * 0.9 ** (step // 8),
}


@pytest.fixture(scope="module", autouse=True)
def _temporary_files(tmp_path_factory):
    """Stable-Baselines3 makes a folder for each model's log, and leaves it."""
    before, tempfile.tempdir = tempfile.tempdir, str(tmp_path_factory.mktemp("temporary"))
    yield
    tempfile.tempdir = before


def schedules(*names):
    config = {name: CONFIG[name] for name in names}
    return build_schedules(config, base={name: BASE[name] for name in names}, total_steps=TOTAL)


class Small(BaseFeaturesExtractor):
    """A features extractor of an 8x8 image, or of anything else flattened."""

    def __init__(self, space):
        super().__init__(space, 8)
        size = math.prod(gym.spaces.flatten_space(space).shape)
        self.body = nn.Sequential(nn.Flatten(), nn.Linear(size, 8), nn.ReLU())

    def forward(self, observations):
        return self.body(observations)


class Image(gym.Env):
    """Random 36x36 images, one action, episodes of 10 steps."""

    observation_space = gym.spaces.Box(0, 255, (36, 36, 1), np.uint8)
    action_space = gym.spaces.Box(-1, 1, (1,), np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.left = 10
        return self.see(), {}

    def step(self, action):
        self.left -= 1
        return self.see(), float(action[0]), False, self.left == 0, {}

    def see(self):
        return self.np_random.integers(0, 255, (36, 36, 1), np.uint8)


class Views(Image):
    """The same among other observations, in a dict."""

    observation_space = gym.spaces.Dict(
        {"image": Image.observation_space, "height": gym.spaces.Box(-1, 1, (1,), np.float32)}
    )

    def see(self):
        return {"image": super().see(), "height": np.zeros(1, np.float32)}


def make(algorithm, *, policy="MlpPolicy", env="Pendulum-v1", shared=False, extractor=None, optimizer=None, **more):
    policy_kwargs = {"net_arch": [32, 32], "share_features_extractor": shared}
    if extractor:
        policy_kwargs["features_extractor_class"] = extractor
    if policy != "MlpPolicy":
        key = "features_dim" if policy == "CnnPolicy" else "cnn_output_dim"
        policy_kwargs["features_extractor_kwargs"] = {key: 8}
    if optimizer:
        policy_kwargs["optimizer_class"] = optimizer
    more = {
        "learning_rate": 7e-4,
        "buffer_size": 200,
        "learning_starts": FIRST,
        "batch_size": 8,
        "seed": 1,
    } | more
    return algorithm(policy, env, policy_kwargs=policy_kwargs, device="cpu", **more)


def small(algorithm, **more):
    """A model whose actor and critic share a features extractor."""
    return make(algorithm, shared=True, extractor=Small, **more)


def network_of(model, optimizer, parameter):
    if any(parameter is other for other in model.actor.features_extractor.parameters()):
        return "encoder"
    owners = {id(model.actor.optimizer): "actor", id(model.critic.optimizer): "critic"}
    return owners.get(id(optimizer), "ent_coef")


def record(model):
    """The rates of every update from now on, [(global step, network, rate), ...]: of parameters with a gradient."""
    updates = []

    def watch(optimizer):
        step = optimizer.step

        def watched(*args, **kwargs):
            result = step(*args, **kwargs)
            used = {
                (network_of(model, optimizer, parameter), group["lr"])
                for group in optimizer.param_groups
                for parameter in group["params"]
                if parameter.grad is not None
            }
            updates.extend((model.num_timesteps, network, rate) for network, rate in sorted(used))
            return result

        optimizer.step = watched

    for optimizer in optimizers(model):
        watch(optimizer)
    return updates


def optimizers(model):
    temperature = getattr(model, "ent_coef_optimizer", None)
    return [model.actor.optimizer, model.critic.optimizer, *([temperature] if temperature else [])]


def expected(names, steps, networks, formulas=FORMULAS):
    """What `record` should hold where every network in `names` is updated once at each step."""
    return {(step, name, formulas[name](step) if name in networks else 7e-4) for step in steps for name in names}


def same(updates, wanted):
    """Compares two sets of updates, rates to the last digits but two."""
    assert len(updates) == len(wanted)
    for (step, name, rate), (other_step, other_name, other_rate) in zip(sorted(updates), sorted(wanted), strict=True):
        assert (step, name) == (other_step, other_name)
        assert rate == pytest.approx(other_rate, rel=1e-12, abs=1e-18), (step, name)


# --- the rates of every update ---

UPDATES = range(FIRST + 1, TOTAL + 1)


def test_sac_has_a_schedule_for_each_network():
    model = make(SAC)
    use_schedules(model, schedules("actor", "critic", "ent_coef"))
    updates = record(model)
    model.learn(TOTAL)
    same(updates, expected(["actor", "critic", "ent_coef"], UPDATES, {"actor", "critic", "ent_coef"}))


def test_ddpg_has_a_schedule_for_each_network():
    model = make(DDPG)
    use_schedules(model, schedules("actor", "critic"))
    updates = record(model)
    model.learn(TOTAL)
    same(updates, expected(["actor", "critic"], UPDATES, {"actor", "critic"}))


def test_td3_has_the_rate_of_the_step_at_its_delayed_updates_of_the_actor():
    model = make(TD3, policy_delay=3)
    use_schedules(model, schedules("actor", "critic"))
    updates = record(model)
    model.learn(TOTAL)
    critic = expected(["critic"], UPDATES, {"critic"})
    actor = expected(["actor"], UPDATES[2::3], {"actor"})  # every third update
    same(updates, critic | actor)


@pytest.mark.parametrize("algorithm", [SAC, TD3, DDPG])
def test_a_network_without_a_schedule_keeps_the_learning_rate(algorithm):
    model = make(algorithm, learning_rate=lambda remaining: 7e-4 * remaining)
    use_schedules(model, schedules("critic"))
    updates = record(model)
    model.learn(TOTAL)
    own = {name: lambda step: 7e-4 * (1 - step / TOTAL) for name in ("actor", "ent_coef")}
    others = {name for _, name, _ in updates} - {"critic"}
    assert others == ({"actor", "ent_coef"} if algorithm is SAC else {"actor"})
    for step, name, rate in updates:
        assert rate == pytest.approx((own | {"critic": FORMULAS["critic"]})[name](step), rel=1e-12, abs=1e-18)


def test_time_is_steps_summed_over_environments():
    model = make(SAC, env=make_vec_env("Pendulum-v1", n_envs=4, seed=1), ent_coef=0.1)
    use_schedules(model, schedules("actor", "critic"))
    updates = record(model)
    model.learn(TOTAL)
    same(updates, expected(["actor", "critic"], range(FIRST + 4, TOTAL + 1, 4), {"actor", "critic"}))


def test_updates_in_bursts_have_the_rate_of_their_step():
    model = make(SAC, train_freq=10, gradient_steps=2, ent_coef=0.1)
    use_schedules(model, schedules("actor", "critic"))
    updates = record(model)
    model.learn(TOTAL)
    once = expected(["actor", "critic"], range(30, TOTAL + 1, 10), {"actor", "critic"})
    same(updates, [*once, *once])


def test_the_rate_written_is_the_rate_used():
    """Stochastic gradient descent moves each parameter by its rate times its gradient."""
    model = small(SAC, optimizer=torch.optim.SGD)
    use_schedules(model, schedules("actor", "critic", "encoder"))
    model.learn(FIRST + 10)
    networks = {
        "encoder": model.actor.features_extractor.body[1].weight,
        "actor": model.actor.mu.weight,
        "critic": model.critic.qf0[-1].weight,
    }
    before = {name: weight.detach().clone() for name, weight in networks.items()}
    for optimizer in optimizers(model):
        optimizer.zero_grad()
    for weight in networks.values():
        weight.grad = torch.ones_like(weight)
    for optimizer in optimizers(model):
        optimizer.step()
    for name, weight in networks.items():
        moved = (before[name] - weight.detach()).mean().item()
        assert moved == pytest.approx(FORMULAS[name](FIRST + 10), rel=1e-3), name  # of float32 weights near 0.1


# --- the shared features extractor ---


@pytest.mark.parametrize(("policy", "env"), [("CnnPolicy", Image), ("MultiInputPolicy", Views)])
@pytest.mark.parametrize("algorithm", [SAC, TD3])
def test_a_shared_features_extractor_has_its_own_schedule(algorithm, policy, env):
    more = {"ent_coef": 0.1} if algorithm is SAC else {"policy_delay": 1}
    model = make(algorithm, policy=policy, env=env(), shared=True, **more)
    use_schedules(model, schedules("actor", "critic", "encoder"))
    updates = record(model)
    model.learn(FIRST + 20)
    names = {"actor", "critic", "encoder"}
    same(updates, expected(names, range(FIRST + 1, FIRST + 21), names))


def test_without_its_own_it_keeps_that_of_the_actor():
    model = small(SAC, ent_coef=0.1)
    use_schedules(model, schedules("actor"))
    updates = record(model)
    model.learn(FIRST + 5)
    formulas = FORMULAS | {"encoder": FORMULAS["actor"]}
    same(updates, expected(["actor", "critic", "encoder"], range(21, 26), {"actor", "encoder"}, formulas))


def test_it_may_have_the_only_schedule():
    model = small(TD3, policy_delay=1)
    use_schedules(model, schedules("encoder"))
    updates = record(model)
    model.learn(FIRST + 5)
    same(updates, expected(["actor", "critic", "encoder"], range(21, 26), {"encoder"}))


@pytest.mark.parametrize("algorithm", [SAC, TD3])
def test_setting_it_apart_changes_nothing_but_its_rate(algorithm):
    def trained(names):
        model = small(algorithm, use_sde=True) if algorithm is SAC else small(algorithm)
        model.learn(FIRST + 10)
        use_schedules(model, {name: FORMULAS["actor"] for name in names})
        model.learn(10, reset_num_timesteps=False)
        return model

    plain, apart = trained(["actor"]), trained(["actor", "encoder"])
    assert [len(model.actor.optimizer.param_groups) for model in (plain, apart)] == [1, 2]
    for weight, other in zip(plain.actor.parameters(), apart.actor.parameters(), strict=True):
        assert torch.equal(weight, other)
    kept = trained([])
    assert not torch.equal(list(kept.actor.parameters())[-1], list(plain.actor.parameters())[-1])


def test_a_rate_of_0_freezes_it_alone():
    model = small(SAC)
    use_schedules(model, {"encoder": lambda step: 0.0})
    before = copy.deepcopy(model.actor.state_dict())
    model.learn(FIRST + 10)
    frozen = {name for name, weight in model.actor.state_dict().items() if torch.equal(weight, before[name])}
    assert frozen == {"features_extractor.body.1.weight", "features_extractor.body.1.bias"}


# --- saving and loading ---


def assert_same_state(optimizer, other):
    state, other_state = optimizer.state_dict(), other.state_dict()
    assert state["param_groups"] == other_state["param_groups"]
    assert state["state"].keys() == other_state["state"].keys()
    assert state["state"]
    for number, values in state["state"].items():
        for key, value in values.items():
            assert torch.equal(value, other_state["state"][number][key]), (number, key)


@pytest.mark.parametrize("algorithm", [SAC, TD3, DDPG])
def test_a_loaded_model_goes_on_exactly(algorithm, tmp_path):
    more = {"use_sde": True} if algorithm is SAC else {}
    names = ("actor", "critic", "encoder", *(["ent_coef"] if algorithm is SAC else []))
    model = small(algorithm, **more)
    use_schedules(model, schedules(*names))
    model.learn(FIRST + 11)
    model.save(tmp_path / "model")
    model.save_replay_buffer(tmp_path / "replay")
    loaded = algorithm.load(tmp_path / "model", env=gym.make("Pendulum-v1"), device="cpu")
    loaded.load_replay_buffer(tmp_path / "replay")
    use_schedules(loaded, schedules(*names))
    for optimizer, other in zip(optimizers(model), optimizers(loaded), strict=True):
        assert_same_state(optimizer, other)

    loaded.set_logger(Logger(None, []))
    recorded = [record(either) for either in (model, loaded)]
    for either in (model, loaded):
        torch.manual_seed(5)
        np.random.seed(5)
        either.train(gradient_steps=4, batch_size=8)
    assert recorded[0] == recorded[1]
    assert {name for _, name, _ in recorded[0]} == set(names)
    for weight, other in zip(model.policy.parameters(), loaded.policy.parameters(), strict=True):
        assert torch.equal(weight, other)

    del recorded[1][:]
    loaded.learn(9, reset_num_timesteps=False)
    assert {step for step, _, _ in recorded[1]} == set(range(FIRST + 12, FIRST + 21))
    for step, name, rate in recorded[1]:
        assert rate == pytest.approx(FORMULAS[name](step), rel=1e-12)


def test_a_saved_model_is_an_ordinary_file(tmp_path):
    """It loads without schedules, in the groups and in the order that Stable-Baselines3 makes."""
    for name in ("plain", "scheduled"):
        model = small(SAC, use_sde=True)
        if name == "scheduled":
            use_schedules(model, {"encoder": lambda step: 7e-4})
        model.learn(FIRST + 10)
        model.save(tmp_path / name)
    loaded = [SAC.load(tmp_path / name) for name in ("plain", "scheduled")]
    for optimizer, other in zip(*map(optimizers, loaded), strict=True):
        assert_same_state(optimizer, other)
    assert list(vars(loaded[0])) == list(vars(loaded[1]))


@pytest.mark.parametrize("names", [("actor", "encoder"), ("actor",)])
def test_a_copied_model_resumes_with_its_schedules_and_saves_an_ordinary_file(names, tmp_path):
    model = small(SAC, ent_coef=0.1)
    use_schedules(model, schedules("actor", "encoder"))
    model.learn(FIRST + 5)
    copied = copy.deepcopy(model)
    use_schedules(copied, schedules(*names))
    updates = record(copied)
    copied.learn(5, reset_num_timesteps=False)
    formulas = FORMULAS if "encoder" in names else FORMULAS | {"encoder": FORMULAS["actor"]}
    same(
        updates,
        expected(["actor", "critic", "encoder"], range(26, 31), {"actor", "encoder"}, formulas),
    )
    copied.save(tmp_path / "copied")
    (group,) = SAC.load(tmp_path / "copied").actor.optimizer.param_groups
    assert len(group["params"]) == len(list(model.actor.parameters()))


def test_parameters_put_back_keep_the_schedules():
    model = small(SAC)
    use_schedules(model, schedules("actor", "critic", "encoder", "ent_coef"))
    model.learn(FIRST + 5)
    model.set_parameters(copy.deepcopy(model.get_parameters()))
    updates = record(model)
    model.learn(5, reset_num_timesteps=False)
    same(updates, expected(FORMULAS, range(26, 31), set(FORMULAS)))


def test_learning_goes_on_where_it_was_or_starts_again():
    model = make(TD3, policy_delay=1)
    use_schedules(model, schedules("actor", "critic"))
    updates = record(model)
    model.learn(FIRST + 5)
    model.learn(5, reset_num_timesteps=False)
    model.learn(FIRST + 3)
    steps = [*range(21, 26), *range(26, 31), *range(21, 24)]
    same(
        updates,
        [update for step in steps for update in expected(["actor", "critic"], [step], {"actor", "critic"})],
    )


def test_a_second_call_replaces_the_first():
    model = small(SAC)
    use_schedules(model, schedules("actor", "critic", "encoder", "ent_coef"))
    model.learn(FIRST + 2)
    use_schedules(model, schedules("encoder"))
    use_schedules(model, schedules("encoder"))
    updates = record(model)
    model.learn(3, reset_num_timesteps=False)
    assert {name for _, name, _ in updates} == set(FORMULAS)
    for step, name, rate in updates:
        assert rate == pytest.approx(FORMULAS["encoder"](step) if name == "encoder" else 7e-4, rel=1e-12)
    assert len(model.actor.optimizer.param_groups) == 2


# --- what is logged ---


def test_rates_are_logged_beside_the_learning_rate():
    model = small(SAC)
    model.set_logger(Logger(None, []))
    use_schedules(model, schedules("actor", "encoder", "ent_coef"))
    model.learn(FIRST + 10)
    logged = {name: value for name, value in model.logger.name_to_value.items() if "/l" in name and "loss" not in name}
    names = ("actor", "encoder", "ent_coef")
    wanted = {f"train/lr_{name}": FORMULAS[name](30) for name in names} | {"train/learning_rate": 7e-4}
    assert logged == pytest.approx(wanted, rel=1e-12)


def test_updates_before_the_first_learn_have_the_rate_of_step_0():
    model = make(SAC)
    use_schedules(model, schedules("actor"))
    model.actor.mu.weight.grad = torch.ones_like(model.actor.mu.weight)
    model.actor.optimizer.step()
    assert model.actor.optimizer.param_groups[0]["lr"] == 3e-4


# --- histories ---


def test_a_curriculum_s_history_is_followed():
    config = {"critic": {"type": "step_decay", "intervals": [{"stage": 0, "lr": 1e-3}, {"stage": 1, "lr": 1e-4}]}}
    staged = build_schedules(config, base={"critic": 5e-3}, total_steps=TOTAL, stage_names=["first", "second"])
    model = make(TD3)
    with pytest.raises(ValueError, match="history"):
        use_schedules(model, staged)
    stages = [(0, 0)]
    use_schedules(model, {**staged, "actor": lambda step: 2e-4}, history=lambda: stages)
    updates = record(model)
    model.learn(FIRST + 2)
    stages.append((24, 1))
    model.learn(4, reset_num_timesteps=False)
    rates = [(step, rate) for step, name, rate in updates if name == "critic"]
    assert rates == [(21, 1e-3), (22, 1e-3), (23, 1e-3), (24, 1e-4), (25, 1e-4), (26, 1e-4)]
    assert {rate for _, name, rate in updates if name == "actor"} == {2e-4}


# --- what is refused ---


@pytest.mark.parametrize(
    ("options", "name", "message"),
    [
        ({}, "encoder", "FlattenExtractor, has no parameters; the networks are actor, critic, ent_coef$"),
        (
            {"extractor": Small},
            "encoder",
            "each; share one with .*; the networks are actor, critic, ent_coef$",
        ),
        ({"ent_coef": 0.1}, "ent_coef", "learns no temperature; the networks are actor, critic$"),
        ({}, "critc", "did you mean critic\\? the networks are actor, critic, ent_coef$"),
        (
            {"extractor": Small, "shared": True},
            "encodr",
            "did you mean encoder\\? .* actor, critic, ent_coef, encoder$",
        ),
    ],
)
def test_networks_that_are_not_there_are_refused(options, name, message):
    model = make(SAC, **options)
    with pytest.raises(ValueError, match=f"^no network {name} .*{message}"):
        use_schedules(model, {"actor": lambda step: 1e-5, name: lambda step: 1e-5})
    model.learn(FIRST + 1)
    assert model.actor.optimizer.param_groups[0]["lr"] == 7e-4  # nothing was changed


def test_an_algorithm_without_such_optimizers_is_refused():
    model = DQN("MlpPolicy", "CartPole-v1", device="cpu", buffer_size=100)
    with pytest.raises(TypeError, match=r"DQN has neither optimizers of an actor and a critic, .* nor one of both"):
        use_schedules(model, {"actor": lambda step: 1e-5})


# --- one optimizer for all: PPO and A2C ---


def on_policy(algorithm, *, shared=True, extractor=Small, **more):
    policy_kwargs = {"net_arch": [16], "share_features_extractor": shared}
    if extractor:
        policy_kwargs["features_extractor_class"] = extractor
    more = {"n_steps": 20, "seed": 1, "learning_rate": 7e-4, "device": "cpu"} | more
    if algorithm is PPO:
        more = {"batch_size": 10, "n_epochs": 2} | more
    return algorithm("MlpPolicy", "Pendulum-v1", policy_kwargs=policy_kwargs, **more)


def owner(name, *, shared=True):
    """The network that a parameter of an ActorCriticPolicy belongs to, by its name."""
    if name.startswith("features_extractor"):
        return "encoder" if shared else "actor"
    critic = ("vf_features_extractor", "mlp_extractor.value_net", "value_net")
    return "critic" if name.startswith(critic) else "actor"


def rates_used(model):
    """(step, parameter's name, rate) of every update from now on."""
    updates, optimizer, step = [], model.policy.optimizer, model.policy.optimizer.step
    names = {id(parameter): name for name, parameter in model.policy.named_parameters()}

    def watched(*args, **kwargs):
        result = step(*args, **kwargs)
        updates.extend(
            (model.num_timesteps, names[id(p)], group["lr"])
            for group in optimizer.param_groups
            for p in group["params"]
        )
        return result

    optimizer.step = watched
    return updates


@pytest.mark.parametrize("networks", [("actor", "critic", "encoder"), ("critic",), ("encoder",), ("actor", "critic")])
@pytest.mark.parametrize("algorithm", [PPO, A2C])
def test_the_one_optimizer_has_a_rate_for_each_network(algorithm, networks):
    model = on_policy(algorithm)
    count = len(list(model.policy.parameters()))
    use_schedules(model, schedules(*networks))
    updates = rates_used(model)
    model.learn(TOTAL)
    assert {step for step, _, _ in updates} == {20, 40, 60, 80}
    assert len({name for _, name, _ in updates}) == count
    for step, name, rate in updates:
        network = owner(name)
        wanted = FORMULAS[network](step) if network in networks else 7e-4
        assert rate == pytest.approx(wanted, rel=1e-12, abs=1e-18), (step, name)


@pytest.mark.parametrize("extractor", [None, Small])
def test_extractors_that_are_not_shared_belong_to_actor_and_critic(extractor):
    model = on_policy(PPO, shared=False, extractor=extractor)
    use_schedules(model, schedules("actor", "critic"))
    updates = rates_used(model)
    model.learn(20)
    assert updates
    for step, name, rate in updates:
        assert rate == pytest.approx(FORMULAS[owner(name, shared=False)](step), rel=1e-12), name
    with pytest.raises(ValueError, match="no network encoder to give a schedule to: "):
        use_schedules(model, schedules("encoder"))


@pytest.mark.parametrize("algorithm", [PPO, A2C])
def test_splitting_the_optimizer_changes_nothing_but_rates(algorithm):
    plain = on_policy(algorithm).learn(TOTAL)
    split = on_policy(algorithm)
    use_schedules(split, dict.fromkeys(("actor", "critic", "encoder"), lambda step: 7e-4))
    split.learn(TOTAL)
    assert len(split.policy.optimizer.param_groups) == 3
    for one, other in zip(plain.policy.parameters(), split.policy.parameters(), strict=True):
        assert torch.equal(one, other)
    assert_same_state(plain.policy.optimizer, split.policy.optimizer)


def test_a_split_model_is_saved_as_an_ordinary_file_and_resumes_exactly(tmp_path):
    straight = on_policy(PPO)
    use_schedules(straight, schedules("actor", "critic", "encoder"))
    copied = copy.deepcopy(straight)  # later Stable-Baselines3 can't copy one
    assert len(copied.policy.optimizer.param_groups) == 3
    straight.learn(40)
    straight.save(tmp_path / "model")
    plain = PPO.load(tmp_path / "model", device="cpu")
    assert len(plain.policy.optimizer.param_groups) == 1
    assert_same_state(plain.policy.optimizer, straight.policy.optimizer)
    resumed = PPO.load(tmp_path / "model", device="cpu")
    use_schedules(resumed, schedules("actor", "critic", "encoder"))
    use_schedules(copied, schedules("actor", "critic", "encoder"))
    copied.policy.load_state_dict(plain.policy.state_dict())
    copied.policy.optimizer.load_state_dict(plain.policy.optimizer.state_dict())
    copied.num_timesteps = 40
    # The episode under way is not part of a saved model: all begin a new one.
    for model in (straight, resumed, copied):
        model.set_env(make_vec_env("Pendulum-v1", seed=3))
        model.set_random_seed(3)
        model.learn(40, reset_num_timesteps=False)
    for other in (resumed, copied):
        for one, two in zip(straight.policy.parameters(), other.policy.parameters(), strict=True):
            assert torch.equal(one, two)
        assert_same_state(straight.policy.optimizer, other.policy.optimizer)


def test_later_calls_split_further_and_give_rates_back():
    model = on_policy(PPO)
    use_schedules(model, schedules("critic"))
    model.learn(20)
    before = copy.deepcopy(model.policy.optimizer.state_dict())
    use_schedules(model, schedules("encoder", "actor"))
    assert len(model.policy.optimizer.param_groups) == 3
    after = model.policy.optimizer.state_dict()
    assert before["state"].keys() == after["state"].keys()
    for place, values in before["state"].items():
        assert all(torch.equal(values[key], after["state"][place][key]) for key in values)
    updates = rates_used(model)
    model.learn(20, reset_num_timesteps=False)
    for step, name, rate in updates:
        wanted = 7e-4 if owner(name) == "critic" else FORMULAS[owner(name)](step)
        assert rate == pytest.approx(wanted, rel=1e-12), name


def test_an_optimizer_with_groups_that_mix_is_refused():
    model = small(SAC)
    model.actor.optimizer.add_param_group({"params": [torch.zeros(1, requires_grad=True)]})
    with pytest.raises(ValueError, match="one group"):
        use_schedules(model, schedules("encoder"))


def test_a_rate_that_is_none_stops_the_run():
    model = make(TD3)
    use_schedules(model, {"critic": lambda step: math.nan})
    with pytest.raises(ValueError, match="finite"):
        model.learn(FIRST + 1)


def test_the_example_runs():
    result = doctest.testmod(adapter)
    assert result.attempted
    assert not result.failed
