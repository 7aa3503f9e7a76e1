"""Writing rates into optimizers: numbers, tensors, captured and compiled updates, saved states."""

import copy
import math

import numpy as np
import pytest
import torch

from glideslope.lr_scheduler import build_schedules, read_lr, write_lr


def parameter():
    return torch.zeros(2, requires_grad=True)


def adam(lr, groups=1, **more):
    return torch.optim.Adam([{"params": [parameter()]} for _ in range(groups)], lr=lr, **more)


def held(optimizer):
    return [float(group["lr"]) for group in optimizer.param_groups]


def tensor(lr=1e-3):
    return torch.tensor(lr, dtype=torch.float64)


class Recorder(dict):
    """A parameter group that counts what is stored in it."""

    writes = 0

    def __setitem__(self, key, value):
        self.writes += 1
        super().__setitem__(key, value)


@pytest.mark.parametrize("lr", [1e-3, tensor()], ids=["float", "tensor"])
def test_scales_act_on_their_own_groups(lr):
    optimizer = adam(lr, groups=3)
    optimizer.param_groups[1]["lr_scale"] = 0.1
    optimizer.param_groups[2]["lr_scale"] = 0.0
    for rate in (2e-3, 5e-4):
        write_lr(optimizer, rate)
        assert held(optimizer) == pytest.approx([rate, 0.1 * rate, 0.0], rel=1e-12)
        assert read_lr(optimizer) == pytest.approx(rate, rel=1e-12)
    assert "lr_scale" not in optimizer.param_groups[0]


def test_read_undoes_the_scale_of_the_first_group_that_moves():
    optimizer = adam(1e-3, groups=2)
    for group, scale in zip(optimizer.param_groups, (0.0, 0.5), strict=True):
        group["lr_scale"] = scale
    write_lr(optimizer, 4e-3)
    assert read_lr(optimizer) == pytest.approx(4e-3, rel=1e-12)
    optimizer.param_groups[1]["lr_scale"] = 0.0
    with pytest.raises(ValueError, match="lr_scale"):
        read_lr(optimizer)


@pytest.mark.parametrize("rate", [-1e-4, math.nan, math.inf])
def test_unusable_rates_are_refused(rate):
    optimizer = adam(1e-3)
    with pytest.raises(ValueError, match="finite"):
        write_lr(optimizer, rate)
    assert held(optimizer) == [1e-3]


def test_a_float_that_agrees_is_left_alone_and_an_outside_change_corrected():
    optimizer = adam(1e-3)
    write_lr(optimizer, 5e-4)
    group = optimizer.param_groups[0] = Recorder(optimizer.param_groups[0])
    write_lr(optimizer, 5e-4)
    assert group.writes == 0
    group["lr"] = 0.7
    assert read_lr(optimizer) == 0.7
    write_lr(optimizer, 5e-4)
    assert held(optimizer) == [5e-4]


@pytest.mark.parametrize("capturable", [False, True])
def test_a_tensor_keeps_its_identity(capturable):
    lr = tensor()
    optimizer = adam(lr, capturable=capturable)
    for rate in (3e-4, 3e-4, 0.0):
        write_lr(optimizer, rate)
        assert optimizer.param_groups[0]["lr"] is lr
        assert float(lr) == rate
    lr.fill_(0.7)  # an outside change
    assert read_lr(optimizer) == 0.7
    write_lr(optimizer, 3e-4)
    assert float(lr) == 3e-4


def test_a_float32_tensor_is_rounded_once():
    optimizer = adam(torch.tensor(1e-3))
    write_lr(optimizer, 1e-4)
    assert read_lr(optimizer) == float(torch.tensor(1e-4))


@pytest.mark.parametrize("written_before", [False, True])
@pytest.mark.parametrize("saved", [0.5, tensor(0.5)], ids=["float", "tensor"])
def test_loading_a_state_does_not_detach_the_tensor(saved, written_before):
    lr = tensor()
    optimizer = adam(lr, capturable=True)
    if written_before:
        write_lr(optimizer, 2e-3)
    optimizer.load_state_dict(adam(saved, capturable=True).state_dict())
    assert optimizer.param_groups[0]["lr"] is not lr  # what torch does
    assert read_lr(optimizer) == 0.5
    write_lr(optimizer, 3e-4)
    assert optimizer.param_groups[0]["lr"] is lr
    assert float(lr) == 3e-4


@pytest.mark.parametrize("saved", [0.5, tensor(0.5)], ids=["float", "tensor"])
def test_loading_before_the_first_write_leaves_every_group_a_tensor(saved):
    lr = tensor()
    optimizer = adam(lr, groups=3, capturable=True)
    state = adam(saved, groups=3, capturable=True)
    state.param_groups[2]["lr_scale"] = 0.1
    optimizer.load_state_dict(state.state_dict())
    for rate in (1e-3, 2e-3):
        write_lr(optimizer, rate)
        assert optimizer.param_groups[0]["lr"] is lr
        assert all(isinstance(group["lr"], torch.Tensor) for group in optimizer.param_groups)
        assert held(optimizer) == pytest.approx([rate, rate, 0.1 * rate], rel=1e-12)


def test_groups_with_tensors_of_their_own_keep_them():
    own = [tensor(), tensor()]
    optimizer = torch.optim.Adam([{"params": [parameter()], "lr": lr} for lr in own], capturable=True)
    write_lr(optimizer, 2e-3)
    optimizer.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    write_lr(optimizer, 4e-3)
    assert all(group["lr"] is lr for group, lr in zip(optimizer.param_groups, own, strict=True))
    assert held(optimizer) == [4e-3, 4e-3]


def test_a_tensor_state_loads_into_a_float_optimizer():
    optimizer = adam(1e-3)
    write_lr(optimizer, 1e-3)
    optimizer.load_state_dict(adam(tensor(0.5)).state_dict())
    write_lr(optimizer, 2e-3)
    assert type(optimizer.param_groups[0]["lr"]) is float
    assert held(optimizer) == [2e-3]


def test_a_group_added_later_is_written_too():
    optimizer = adam(tensor(), capturable=True)
    write_lr(optimizer, 1e-3)
    optimizer.add_param_group({"params": [parameter()], "lr_scale": 0.1})
    write_lr(optimizer, 2e-3)
    assert held(optimizer) == pytest.approx([2e-3, 2e-4], rel=1e-12)


def test_states_round_trip():
    optimizer = adam(1e-3, groups=2)
    optimizer.param_groups[1]["lr_scale"] = 0.1
    write_lr(optimizer, 2e-3)
    state = optimizer.state_dict()
    assert not any("tensor" in key for group in state["param_groups"] for key in group)
    other = adam(9e-3, groups=2)
    other.load_state_dict(state)
    assert held(other) == held(optimizer)
    write_lr(other, 1e-3)
    assert held(other) == pytest.approx([1e-3, 1e-4], rel=1e-12)
    assert held(copy.deepcopy(optimizer)) == held(optimizer)


@pytest.mark.parametrize("lr", [1e-3, tensor()], ids=["float", "tensor"])
def test_the_update_uses_the_rate_written(lr):
    optimizer = torch.optim.SGD([parameter()], lr=lr)
    (weights,) = optimizer.param_groups[0]["params"]
    weights.grad = torch.ones_like(weights)
    write_lr(optimizer, 0.25)
    optimizer.step()
    assert weights.tolist() == [-0.25, -0.25]


def test_a_resumed_schedule_writes_the_rates_of_the_one_that_never_stopped():
    def make():
        config = {
            "actor": {
                "type": "cosine_decay",
                "intervals": [{"lr": "1x", "final_lr": "0.1x", "warmup": "10%"}],
            }
        }
        return build_schedules(config, base={"actor": 1e-3}, total_steps=100)["actor"], adam(1e-3)

    schedule, optimizer = make()
    whole = []
    for step in range(0, 100, 2):
        write_lr(optimizer, schedule(step))
        whole.append(read_lr(optimizer))
    schedule, optimizer = make()
    optimizer.load_state_dict(adam(0.9).state_dict())  # a state saved at another rate
    resumed = []
    for step in range(50, 100, 2):
        write_lr(optimizer, schedule(step))
        resumed.append(read_lr(optimizer))
    assert resumed == whole[25:]


def graphs_of(optimizer, write):
    """How many graphs 20 updates compile, each at another rate of a schedule; and the sum of the rates."""
    graphs = []

    def backend(graph, _):
        graphs.append(graph)
        return graph.forward

    schedule = build_schedules(
        {"actor": {"type": "cosine_decay", "intervals": [{"lr": "1x", "final_lr": "0.0625x"}]}},
        base={"actor": 0.5},
        total_steps=19,
    )["actor"]
    torch._dynamo.reset()
    for weights in (weights for group in optimizer.param_groups for weights in group["params"]):
        weights.grad = torch.ones_like(weights)

    @torch.compile(backend=backend)
    def update():
        optimizer.step()

    rates = [schedule(step) for step in range(20)]
    for rate in rates:
        write(optimizer, rate)
        update()
    torch._dynamo.reset()
    assert len(set(rates)) == 20
    return len(graphs), sum(rates)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "more"),
    [(torch.optim.SGD, {}), (torch.optim.Adam, {}), (torch.optim.Adam, {"capturable": True})],
    ids=["sgd", "adam", "capturable adam"],
)
def test_one_compiled_update_serves_every_rate(kind, more):
    optimizer = kind([parameter()], lr=tensor(), **more)
    graphs, total = graphs_of(optimizer, write_lr)
    assert graphs == 1
    # With a gradient of 1 each update is the rate itself, of Adam's too but for its epsilon.
    (weights,) = optimizer.param_groups[0]["params"]
    assert weights.tolist() == pytest.approx([-total] * 2, rel=1e-4)


@pytest.mark.slow
def test_rates_written_as_numbers_would_be_compiled_again_and_again():
    """What the test above can see: dynamo takes a number as a constant; by default it gives that up after one."""

    def by_value(optimizer, rate):
        optimizer.param_groups[0]["lr"] = rate

    assert graphs_of(adam(1e-3), by_value)[0] > 1
    with torch._dynamo.config.patch(automatic_dynamic_shapes=False, recompile_limit=64):
        assert graphs_of(adam(1e-3), by_value)[0] == 20
        assert graphs_of(adam(tensor()), write_lr)[0] == 1


def test_a_tensor_rate_with_a_gradient_is_filled():
    lr = tensor().requires_grad_()
    optimizer = adam(lr)
    write_lr(optimizer, 2e-3)
    assert float(lr.detach()) == 2e-3
    assert lr.is_leaf
    assert optimizer.param_groups[0]["lr"] is lr


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_writing_does_not_wait_for_the_device():
    lr = torch.tensor(1e-3, device="cuda")
    optimizer = torch.optim.Adam([torch.zeros(2, device="cuda", requires_grad=True)], lr=lr, capturable=True)
    torch.cuda.set_sync_debug_mode("error")
    try:
        for rate in (1e-3, 5e-4):
            write_lr(optimizer, rate)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert read_lr(optimizer) == float(torch.tensor(5e-4))


@pytest.mark.parametrize("written_before", [False, True])
@pytest.mark.parametrize("scale", [-1.0, math.nan])
def test_a_scale_that_makes_a_rate_unusable_is_refused(scale, written_before):
    optimizer = adam(1e-3)
    if written_before:
        write_lr(optimizer, 1e-3)
    optimizer.param_groups[0]["lr_scale"] = scale
    with pytest.raises(ValueError, match="lr_scale"):
        write_lr(optimizer, 2e-3)
    assert held(optimizer) == [1e-3]


def test_numpys_numbers_are_stored_as_plain_ones():
    optimizer = adam(1e-3)
    for rate in (2e-3, 3e-3):
        write_lr(optimizer, np.float64(rate))
        assert type(optimizer.param_groups[0]["lr"]) is float
