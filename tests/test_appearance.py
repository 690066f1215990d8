"""Each change of appearance does what it says, per image and without touching its neighbours in the batch."""

import math

import pytest
import torch

from microloftr.data import appearance


@pytest.fixture
def images():
    return torch.rand(3, 1, 48, 48, generator=torch.Generator().manual_seed(3))


def test_gamma_is_a_power(images):
    changed = appearance.gamma(images, torch.tensor([1.0, 2.0, 0.5]))
    assert torch.allclose(changed[0], images[0])
    assert torch.allclose(changed[1], images[1] ** 2)
    assert torch.allclose(changed[2], images[2].sqrt())


def test_a_straight_tone_curve_changes_nothing_and_a_falling_one_inverts(images):
    line = torch.linspace(0, 1, 7)
    changed = appearance.tone_curve(images, torch.stack((line, 1 - line, line**2)))
    assert torch.allclose(changed[0], images[0], atol=1e-6)
    assert torch.allclose(changed[1], 1 - images[1], atol=1e-6)


def test_blur_spreads_a_point_by_sigma():
    point = torch.zeros(2, 1, 49, 49)
    point[:, :, 24, 24] = 1
    spread = appearance.blur(point, torch.tensor([1.0, 2.5]))[:, 0]
    offsets = torch.arange(49.0) - 24
    for image, sigma in zip(spread, (1.0, 2.5), strict=True):
        assert image.sum() == pytest.approx(1, abs=1e-5)
        assert math.sqrt((image.sum(0) * offsets**2).sum()) == pytest.approx(sigma, rel=0.02)
        assert abs((image.sum(1) * offsets).sum()) < 1e-5  # and does not move it


def test_even_light_changes_nothing_and_uneven_light_multiplies(images):
    field = torch.ones(3, 1, 3, 3)
    field[1, 0, 0, 0] = 1.4
    changed = appearance.uneven_light(images, field)
    assert torch.allclose(changed[0], images[0], atol=1e-6)
    assert changed[1, 0, 0, 0] == pytest.approx(1.4 * images[1, 0, 0, 0].item(), rel=1e-4)


def test_sensor_noise_has_the_variance_it_says():
    grey = torch.full((2, 1, 200, 200), 0.5)
    noisy = appearance.sensor_noise(
        grey, torch.tensor([20.0, math.inf]), torch.tensor([0.0, 0.03]), torch.Generator().manual_seed(0)
    )
    assert noisy[0].std() == pytest.approx(math.sqrt(0.5 / 20), rel=0.03)
    assert noisy[1].std() == pytest.approx(0.03, rel=0.03)
    assert noisy.mean() == pytest.approx(0.5, abs=0.005)


def test_random_curves_span_what_they_should():
    u = torch.rand(200, 7, generator=torch.Generator().manual_seed(1))
    line = torch.linspace(0, 1, 7)
    assert torch.allclose(appearance.random_curves(u, 0.0), line.expand(200, -1))
    falling = appearance.random_inverted_curves(u)
    assert (falling.amax(1) - falling.amin(1) > 0.85).all()
    steps = falling.diff(dim=1)
    assert ((steps < 0).any(1)).all()  # none is a mere gamma
    turning = ((steps > 0.02).any(1) & (steps < -0.02).any(1)).float().mean()
    assert 0.35 < turning < 0.65  # half fall, half turn round
