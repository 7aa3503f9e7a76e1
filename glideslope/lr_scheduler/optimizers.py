"""Learning rates written into PyTorch optimizers, and read from them."""

from __future__ import annotations

from collections.abc import Container, Mapping
from typing import TYPE_CHECKING, Any

from glideslope.lr_scheduler.decimals import LARGEST

if TYPE_CHECKING:
    import torch


def write_lr(optimizer: torch.optim.Optimizer, lr: float, groups: Container[int] | None = None) -> None:
    """Set every parameter group's rate to `lr` times the group's `lr_scale` (1 where it has none).

    A rate that is a tensor is filled in place, without a device synchronisation, and stays the object that
    captured graphs hold on to: where `load_state_dict` has put another, the first one is put back. (Write
    once before loading where groups were given tensors of their own.)

    Args:
        optimizer: any PyTorch optimizer.
        lr: the rate, finite and not negative.
        groups: indices of the only groups to write to; None for all.

    Raises:
        ValueError: `lr`, or `lr` times a group's scale, is negative or not finite.
    """
    lr = float(lr)
    if not 0 <= lr <= LARGEST:
        raise ValueError(f"a learning rate must be finite and not negative, not {lr}")
    # The tensor of each group's rate, None for a number: not part of the optimizer's copies.
    tensors: dict[int, torch.Tensor | None] = vars(optimizer).setdefault("_lr_tensors", {})
    for index, group in enumerate(optimizer.param_groups):
        if groups is not None and index not in groups:
            continue
        rate = lr * float(group.get("lr_scale", 1.0))
        if not 0 <= rate <= LARGEST:
            rule = f"must be finite and not negative, not {lr} times lr_scale {group['lr_scale']}"
            raise ValueError(f"a learning rate {rule}")
        if index not in tensors:
            tensors[index] = _own_tensor(optimizer, group, tensors)
        tensor = tensors[index]
        if tensor is not None:
            group["lr"] = tensor
            tensor.detach().fill_(rate)
        elif type(group["lr"]) is not float or group["lr"] != rate:
            group["lr"] = rate


def _own_tensor(
    optimizer: torch.optim.Optimizer, group: Mapping[str, Any], taken: Mapping[int, torch.Tensor | None]
) -> torch.Tensor | None:
    """Return the tensor that holds this group's rate from now on; None for a group whose rate is a number."""
    try:
        import torch
    except ModuleNotFoundError as error:
        raise ImportError("writing rates into an optimizer needs PyTorch: pip install torch") from error

    held, default = group["lr"], optimizer.defaults.get("lr")
    replaced = all(other["lr"] is not default for other in optimizer.param_groups)
    if isinstance(default, torch.Tensor) and (replaced or not isinstance(held, torch.Tensor)):
        held = default  # what the optimizer was made with, before load_state_dict put something else there
    if not isinstance(held, torch.Tensor):
        return None
    # A tensor given for the whole optimizer is shared by its groups, whose scales may differ.
    return held.detach().clone() if any(held is tensor for tensor in taken.values()) else held


def read_lr(optimizer: torch.optim.Optimizer) -> float:
    """Return the rate that the optimizer holds, without `lr_scale`: that of its first group not scaled by 0.

    Waits for the device where the rate is a tensor there.

    Raises:
        ValueError: the scale of every group is 0.
    """
    for group in optimizer.param_groups:
        if scale := group.get("lr_scale", 1.0):
            return float(group["lr"]) / float(scale)
    raise ValueError("no parameter group has an lr_scale other than 0")
