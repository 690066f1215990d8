"""Each change of training pairs does what it says, per image and without touching its neighbours in the batch."""

import pytest
import torch

from microloftr.data import changes


@pytest.fixture
def images():
    return torch.rand(2, 1, 48, 48, generator=torch.Generator().manual_seed(5))


def test_defocus_spreads_a_point_over_a_disk():
    point = torch.zeros(2, 1, 49, 49)
    point[:, :, 24, 24] = 1
    spread = changes.defocus(point, torch.tensor([0.0, 5.0]))[:, 0]
    assert torch.allclose(spread[0], point[0, 0])  # no radius, no change
    disk = spread[1]
    assert disk.sum() == pytest.approx(1, abs=1e-5)
    assert disk[24, 28] == pytest.approx(disk[24, 24].item())  # flat inside, where a Gaussian falls
    assert disk[24, 28] > 10 * disk[24, 30].abs()
    offsets = torch.arange(49.0) - 24
    assert 2 * (disk.sum(0) * offsets**2).sum().sqrt() == pytest.approx(5, rel=0.03)  # σ of a disk is half its radius


def test_defocus_turns_the_contrast_of_some_stripes_round():
    x = torch.arange(96.0)
    stripes = (0.5 + 0.4 * torch.cos(2 * torch.pi * x / 7)).expand(1, 1, 96, 96)
    seen = changes.defocus(stripes, torch.tensor([5.2]))[0, 0, 48, 20:76] - 0.5
    assert (seen * (stripes[0, 0, 48, 20:76] - 0.5)).sum() < -0.05


def test_shading_darkens_the_corners_and_tilts():
    white = torch.ones(3, 1, 41, 41)
    shaded = changes.shading(white, torch.tensor([0.0, 0.5, 0.0]), torch.tensor([[0, 0], [0, 0], [0.3, -0.2]]))[:, 0]
    assert torch.allclose(shaded[0], white[0, 0])
    assert shaded[1, 20, 20] == pytest.approx(1)
    assert shaded[1, 0, 0] == pytest.approx(0.5)
    assert shaded[2, 20, 40] == pytest.approx(1.3)
    assert shaded[2, 40, 20] == pytest.approx(0.8)
    assert changes.shading(white[:1], torch.tensor([3.0]), torch.zeros(1, 2)).min() == pytest.approx(0.05)


def test_charging_lifts_bands_of_rows_and_smears_bright_places_to_the_right():
    images = torch.zeros(2, 1, 40, 60)
    images[:, :, 5, 20] = images[:, :, 35, 20] = 0.8
    rows = torch.zeros(2, 4)
    rows[0, 0] = 0.2  # the first ten of 40 rows
    charged = changes.charging(images, rows, torch.tensor([1.0, 1.0]))
    assert torch.equal(charged[1], images[1])
    line = charged[0, 0, 5]
    assert line[10] == pytest.approx(0.2)  # nothing to the left of the bright place
    assert line[21] > line[25] > line[35] > 0.2 + 1e-4
    assert torch.equal(charged[0, 0, 10:], images[0, 0, 10:])


def test_edges_shows_outlines_and_no_areas():
    disk = ((torch.arange(48.0).view(-1, 1) - 24) ** 2 + (torch.arange(48.0) - 24) ** 2 < 15**2).float()
    outlines = changes.edges(disk.expand(1, 1, -1, -1))[0, 0]
    assert outlines[24, 24] == 0
    assert outlines[2, 2] == 0
    assert outlines[24, 39] > 0.5
    inverted = changes.edges(1 - disk.expand(1, 1, -1, -1))[0, 0]
    assert torch.allclose(outlines, inverted, atol=1e-5)


def test_mixed_takes_each_where_the_map_says(images):
    weights = torch.zeros(2, 1, 4, 4)
    weights[1] = torch.tensor([0.0, 0.0, 1.0, 1.0])
    both = changes.mixed(images, 1 - images, weights)
    assert torch.equal(both[0], images[0])
    assert torch.allclose(both[1, :, :, :6], images[1, :, :, :6], atol=0.1)
    assert torch.allclose(both[1, :, :, -1], 1 - images[1, :, :, -1], atol=1e-5)


def test_patches_are_connected_and_grow_as_the_threshold_falls():
    levels = torch.zeros(3, 1, 5, 5)
    levels[:, :, 2, 2] = 1
    masks = changes.patches(levels, torch.tensor([1.1, 0.5, 0.2]), (64, 64))
    assert not masks[0].any()
    assert masks[1, 0, 32, 32]
    assert not masks[1, 0, 0].any()
    assert masks[2].sum() > masks[1].sum() > 100
    assert (masks[2] | ~masks[1]).all()


def test_emptied_is_one_grey_value_of_the_image(images):
    dark, light = images[:1] * 0.2, images[:1] * 0.2 + 0.7
    halves = torch.cat((dark[..., :24], light[..., 24:]), 3).expand(2, -1, -1, -1)
    empty = changes.emptied(halves, torch.tensor([0.0, 1.0]))
    assert empty.std((1, 2, 3)).max() == 0
    assert empty[0].mean() < 0.2
    assert empty[1].mean() > 0.7


def test_specks_lie_where_they_should_and_are_as_large():
    centres, radii = torch.tensor([[[10.0, 30.0], [0, 0]]] * 2), torch.tensor([[5.0, 0.0], [0.0, 0.0]])
    circle = torch.eye(2).expand(2, 2, 2, 2)
    cover = changes.specks(centres, radii, circle, (48, 48))[:, 0]
    assert not cover[1].any()
    assert cover[0, 30, 10] == 1
    assert cover[0].sum() == pytest.approx(torch.pi * 25, rel=0.05)
    flat = changes.specks(centres, radii, torch.diag(torch.tensor([1.0, 2.0])).expand(2, 2, 2, 2), (48, 48))[0, 0]
    assert flat.sum() == pytest.approx(torch.pi * 25 / 2, rel=0.1)
    assert flat[30, 14] > 0.5 > flat[34, 10]


def test_clipped_stretches_and_cuts_off(images):
    cut = changes.clipped(images, torch.tensor([0.0, 0.2]), torch.tensor([1.0, 0.7]))
    assert torch.allclose(cut[0], images[0])
    assert (cut[1][images[1] >= 0.7] == 1).all()
    assert (cut[1][images[1] <= 0.2] == 0).all()
    middle = (images[1] > 0.2) & (images[1] < 0.7)
    assert torch.allclose(cut[1][middle], (images[1][middle] - 0.2) / 0.5, atol=1e-6)
