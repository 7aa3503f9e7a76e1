"""Scalar and categorical values: against an independent implementation and worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm

from glideslope.agent.values import HistogramValues, ScalarValues
from tests.support.agents import make_agent, make_batch

CPU = torch.device("cpu")


def test_a_scalar_is_its_own_value_and_its_loss_the_squared_error() -> None:
    outputs = torch.tensor([[[1.0], [2.0]], [[0.0], [4.0]]])
    values = ScalarValues()
    assert values.means(outputs) is outputs
    assert float(values.loss(outputs, torch.tensor([[1.0], [3.0]]))) == (0 + 1) / 2 + (1 + 1) / 2


@given(target=st.floats(-1.9, 1.9), bins=st.integers(8, 101))
def test_the_target_is_a_truncated_normal_over_the_bins(target: float, bins: int) -> None:
    values = HistogramValues(-2.0, 2.0, bins, CPU)
    width = 4.0 / bins
    centres = -2.0 + width * (np.arange(bins) + 0.5)
    edges = np.linspace(-2.0, 2.0, bins + 1)
    mass = np.diff(norm.cdf(edges, loc=np.clip(target, centres[0], centres[-1]), scale=0.75 * width))
    expected = mass / mass.sum()
    logits = torch.from_numpy(np.random.default_rng(bins).standard_normal((2, 1, bins))).float()
    cross = -(torch.from_numpy(expected) * logits.double().log_softmax(-1)).sum()
    found = values.loss(logits, torch.tensor([[target]]))
    assert float(found) == pytest.approx(float(cross), rel=1e-3, abs=1e-4)


def test_the_mean_of_bins_is_that_of_their_centres() -> None:
    values = HistogramValues(0.0, 4.0, 4, CPU)
    logits = torch.log(torch.tensor([[[0.5, 0.25, 0.25, 1e-30]], [[1e-30, 1e-30, 1e-30, 1.0]]]))
    assert values.means(logits).flatten().tolist() == pytest.approx([0.5 * 0.5 + 0.25 * 1.5 + 0.25 * 2.5, 3.5])


def test_descending_the_loss_finds_the_target() -> None:
    values = HistogramValues(-2.0, 2.0, 51, CPU)
    logits, target = torch.zeros(2, 3, 51, requires_grad=True), torch.tensor([[-1.3], [0.2], [1.7]])
    optimizer = torch.optim.Adam([logits], lr=0.1)
    for _ in range(400):
        optimizer.zero_grad()
        values.loss(logits, target).backward()
        optimizer.step()
    torch.testing.assert_close(values.means(logits), target.expand(2, 3, 1), atol=0.02, rtol=0.0)


@pytest.mark.parametrize("beyond", [-50.0, 50.0])
def test_returns_beyond_the_range_count_as_its_ends(beyond: float) -> None:
    values = HistogramValues(-2.0, 2.0, 11, CPU)
    logits = torch.randn(2, 1, 11, generator=torch.Generator().manual_seed(0))
    loss = float(values.loss(logits, torch.tensor([[beyond]])))
    assert math.isfinite(loss)
    assert loss == float(values.loss(logits, torch.tensor([[math.copysign(2.0, beyond)]])))


@pytest.mark.parametrize("profile", ["pixels", "state"])
def test_an_agent_with_bins_and_layer_norm_fits_a_batch(profile: str) -> None:
    agent, batch = make_agent(profile, value_bins=21, critic_layer_norm=True), make_batch(profile)
    first = float(agent.update(batch, 0.1)["critic_loss"])
    for _ in range(150):
        last = float(agent.update(batch, 0.1)["critic_loss"])
    assert last < 0.6 * first
