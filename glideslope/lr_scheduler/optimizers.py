"""Rates into and out of PyTorch optimizers."""

from __future__ import annotations

from collections.abc import Container, Mapping
from typing import TYPE_CHECKING, Any

from glideslope.lr_scheduler.values import INFINITE

if TYPE_CHECKING:
    import torch


def write_lr(optimizer: torch.optim.Optimizer, lr: float, groups: Container[int] | None = None) -> None:
    """Set every parameter group's rate to lr times the group's `lr_scale` (1 where it has none).

    With `groups`, only the groups of these indices.

    A rate that is a tensor is filled in place, without a device synchronisation, and stays the object that
    captured graphs hold on to: where `load_state_dict` has put another, the first one is put back. (Write
    once before loading where groups were given tensors of their own.) A rate that is a number is compared
    with what the optimizer really holds, and left alone where they agree.
    Raises ValueError for a rate that is negative or not finite.
    """
    # Once for every update of every network: no imports here, no context manager, and a short way for numbers.
    if type(lr) is not float:
        lr = float(lr)
    if not 0 <= lr <= INFINITE:
        raise ValueError(f"a learning rate must be finite and not negative, not {lr}")
    held = optimizer.param_groups
    try:
        numbers: int = optimizer._lr_numbers  # type: ignore[attr-defined]
    except AttributeError:
        numbers = -1
    if numbers == len(held) and groups is None:
        for group in held:
            rate = _scaled(lr, group["lr_scale"]) if "lr_scale" in group else lr
            there = group["lr"]
            if there is not rate and (there != rate or type(there) is not float):
                group["lr"] = rate
        return
    tensors: dict[int, torch.Tensor | None] = vars(optimizer).setdefault("_lr_tensors", {})
    for index, group in enumerate(held):
        if groups is not None and index not in groups:
            continue
        rate = _scaled(lr, group["lr_scale"]) if "lr_scale" in group else lr
        if index not in tensors:
            tensors[index] = _own_tensor(optimizer, group, tensors)
        tensor = tensors[index]
        if tensor is None:
            if not isinstance(group["lr"], float) or group["lr"] != rate:
                group["lr"] = rate
        else:
            group["lr"] = tensor
            (tensor.detach() if tensor.requires_grad else tensor).fill_(rate)
    if len(tensors) == len(held) and all(tensor is None for tensor in tensors.values()):
        optimizer._lr_numbers = len(held)  # type: ignore[attr-defined]  # no group's rate is a tensor


def _scaled(lr: float, scale: float) -> float:
    rate = lr * float(scale)
    if not 0 <= rate <= INFINITE:
        raise ValueError(f"a learning rate must be finite and not negative, not {lr} times lr_scale {scale}")
    return rate


def _own_tensor(
    optimizer: torch.optim.Optimizer, group: Mapping[str, Any], taken: Mapping[int, torch.Tensor | None]
) -> torch.Tensor | None:
    """The tensor that holds this group's rate from now on; None for a group whose rate is a number."""
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
    """The rate that the optimizer really holds, without `lr_scale`: that of its first group not scaled by 0.

    Waits for the device where the rate is a tensor there. Raises ValueError where every scale is 0.
    """
    for group in optimizer.param_groups:
        if scale := group.get("lr_scale", 1.0):
            return float(group["lr"]) / float(scale)
    raise ValueError("no parameter group has an lr_scale other than 0")
