"""The line: what the published model does wrong is right here, and each test fails with the published form."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from microloftr.errors import ConfigError, WeightsError
from microloftr.model.attention import full_attention, linear_attention
from microloftr.model.backbone import MicroBackbone, contrast
from microloftr.model.coarse_matching import CoarseMatches, select
from microloftr.model.loftr import LoFTR
from microloftr.model.position import frequencies, rotary_angles, rotate
from microloftr.model.presets import PRESETS, ModelConfig, model_config
from microloftr.model.pyramid import upsample
from microloftr.model.refinement import FineFeatures, Refinement
from microloftr.model.weights import load_model, random_model, recipe_of, save_weights, shipped
from microloftr.model.windows import gather_windows


def stirred(preset: str = "micro", seed: int = 0) -> LoFTR:
    """A random model whose zero-initialised layers also do something."""
    model = random_model(preset, seed)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1 and not parameter.any():
                parameter.copy_(0.1 * torch.randn(parameter.shape, generator=generator))
    return model


def images(count: int, height: int, width: int, seed: int = 0) -> torch.Tensor:
    coarse = torch.rand(count, 1, height // 4 + 2, width // 4 + 2, generator=torch.Generator().manual_seed(seed))
    return F.interpolate(coarse, (height, width), mode="bicubic").clamp(0, 1)


@pytest.fixture(scope="module")
def model():
    return stirred()


# --- the whole line


@pytest.mark.parametrize("preset", list(PRESETS))
@pytest.mark.parametrize("sizes", [(96, 96, 96, 96), (101, 131, 90, 77), (64, 80, 65, 81)])
def test_any_sizes_go_through_and_points_lie_in_the_images(preset, sizes):
    height_0, width_0, height_1, width_1 = sizes
    with torch.no_grad():
        trace = stirred(preset).trace(images(2, height_0, width_0), images(2, height_1, width_1, 1), threshold=0.0)
    cells = [-(-n // 8) for n in sizes]
    assert trace.log_confidence.shape == (2, cells[0] * cells[1], cells[2] * cells[3])
    matches = trace.matches
    assert len(matches.points_0) == len(matches.points_1) == len(matches.confidence) > 0
    assert (matches.points_0 >= 0).all()
    assert (matches.points_0 <= torch.tensor([width_0 - 1, height_0 - 1])).all()
    assert (matches.coarse_points_1 <= torch.tensor([width_1 - 1, height_1 - 1])).all()
    assert torch.isfinite(matches.points_1).all()


def test_forward_is_the_trace_s_matches_and_leaves_nothing_behind(model):
    before = set(vars(model))
    with torch.no_grad():
        one = model(images(1, 96, 96), images(1, 96, 96, 1), threshold=0.0)
        two = model.trace(images(1, 96, 96), images(1, 96, 96, 1), threshold=0.0).matches
    assert torch.equal(one.points_1, two.points_1)
    assert set(vars(model)) == before


@pytest.mark.parametrize("preset", list(PRESETS))
def test_no_sample_of_a_batch_sees_another(preset):
    """But in `loftr`: its batch normalisation ties all samples of a batch together in training."""
    model = stirred(preset).train()
    image_0, image_1 = images(3, 64, 64).requires_grad_(), images(3, 64, 64, 1).requires_grad_()
    model.trace(image_0, image_1, 0.0).log_confidence[1].sum().backward()
    for gradient in (image_0.grad, image_1.grad):
        assert (gradient[0].abs().max() > 0) == (preset == "loftr")
        assert (gradient[2].abs().max() > 0) == (preset == "loftr")
        assert gradient[1].abs().max() > 0


def test_a_batch_gives_what_its_pairs_give_alone(model):
    image_0, image_1 = images(2, 96, 64), images(2, 96, 64, 1)
    with torch.no_grad():
        together = model.trace(image_0, image_1).log_confidence
        alone = model.trace(image_0[1:], image_1[1:]).log_confidence
    assert torch.allclose(together[1:], alone, atol=1e-4)


def test_exchanging_the_images_transposes_the_confidence(model):
    """The published cross-attention updates image_0 first and lets image_1 read the result: it fails this."""
    image_0, image_1 = images(1, 96, 96), images(1, 96, 96, 1)
    with torch.no_grad():
        there = model.trace(image_0, image_1).log_confidence
        back = model.trace(image_1, image_0).log_confidence
        assert torch.allclose(there, back.transpose(1, 2), atol=1e-4)
        assert not torch.allclose(there, back, atol=1e-2)
        # the published order, on the same layers
        encoded = model.encode(*model.pyramids(image_0, image_1))
        x_0, x_1 = (p.eighth.flatten(2).transpose(1, 2) for p in (encoded.pyramid_0, encoded.pyramid_1))
        layer = model.transformer.cross_layers[0]
        published_0 = layer(x_0, x_1)
        published_1 = layer(x_1, published_0)
        assert not torch.allclose(published_1, layer(x_1, x_0), atol=1e-3)


# --- backbone


def test_a_cell_s_field_of_view_is_centred_on_its_point(monkeypatch):
    """Gradient of one place of each map to the pixels: with even weights its centroid is that place's pixel.

    All weights and pixels are positive, so that no ReLU cuts anything: the whole network is linear here.
    """
    monkeypatch.setattr("microloftr.model.backbone.contrast", lambda images: images.repeat(1, 2, 1, 1))
    backbone, fine_features = MicroBackbone(8), FineFeatures(8, 4, middle=6)
    for module in (*backbone.modules(), *fine_features.modules()):
        if isinstance(module, nn.Conv2d):
            nn.init.constant_(module.weight, 1 / module.weight[0].numel())
    size = 640
    image = torch.ones(1, 1, size, size, requires_grad=True)
    pyramid = backbone(image)
    fine = fine_features(pyramid.eighth, pyramid)
    line = torch.arange(size, dtype=torch.float64)
    for stride, features in ((2, pyramid.half), (4, pyramid.quarter), (8, pyramid.eighth), (2, fine)):
        (gradient,) = torch.autograd.grad(features[0, :, 320 // stride, 320 // stride].sum(), image, retain_graph=True)
        weight = gradient[0, 0].double()
        assert (weight.sum(0) * line).sum() / weight.sum() == pytest.approx(320, abs=0.02)
        assert (weight.sum(1) * line).sum() / weight.sum() == pytest.approx(320, abs=0.02)


@pytest.mark.parametrize("size", [8, 9, 31])
def test_the_pyramid_does_not_drift(size):
    """A map of its own positions, enlarged, must hold position i/2; both usual forms do not."""
    ramp = torch.arange(size, dtype=torch.float32).expand(1, 1, size, size)
    wanted = torch.arange(2 * size - 1) / 2
    assert torch.allclose(upsample(ramp, 2 * size - 1, 2 * size - 1)[0, 0, 0], wanted, atol=1e-5)
    even = upsample(ramp, 2 * size, 2 * size)
    assert even.shape[-1] == 2 * size
    assert torch.allclose(even[0, 0, 0, :-1], wanted, atol=1e-5)
    published = F.interpolate(ramp, scale_factor=2, mode="bilinear", align_corners=True)[0, 0, 0, :-1]
    assert (published - wanted).abs().max() > 0.4
    other = F.interpolate(ramp, scale_factor=2, mode="bilinear", align_corners=False)[0, 0, 0, 2:-2]
    assert torch.allclose(other - wanted[2:-1], torch.tensor(-0.25))


def test_contrast_does_not_see_brightness_or_gain_and_survives_blank_images():
    image = images(1, 96, 96)
    assert torch.allclose(contrast(image), contrast(0.5 * image + 0.2), atol=0.1)
    blank = contrast(torch.full((1, 1, 64, 64), 0.3))
    assert torch.isfinite(blank).all()
    assert blank.abs().max() < 1e-3


# --- position and attention


def test_attention_scores_depend_on_the_distance_of_cells_alone():
    query, key = torch.randn(1, 32, generator=torch.Generator().manual_seed(0)), torch.ones(1, 32)
    angles = rotary_angles(12, 12, 32)

    def score(cell_0: int, cell_1: int) -> float:
        return float(rotate(query, angles[cell_0 : cell_0 + 1]) @ rotate(key, angles[cell_1 : cell_1 + 1]).T)

    assert score(0, 14) == pytest.approx(score(51, 65), abs=1e-4)
    assert score(0, 14) != pytest.approx(score(0, 15), abs=1e-2)
    assert score(0, 1) != pytest.approx(score(0, 12), abs=1e-2)  # one to the right is not one down


def test_every_channel_of_the_position_moves_within_an_image():
    """The published frequencies, with their missing parentheses, leave most channels constant over 100 cells."""
    omega = frequencies(32)
    assert (omega * 100 > 1).all()
    count = 8
    published = torch.exp(torch.arange(count) * 2.0 * (-torch.log(torch.tensor(10000.0)) / 16 // 2))
    assert (published * 100 < 1).float().mean() > 0.3


def test_linear_attention_is_its_definition_and_full_attention_torch_s():
    generator = torch.Generator().manual_seed(1)
    query, key, value = (torch.randn(1, 2, n, 8, generator=generator, dtype=torch.float64) for n in (5, 7, 7))
    phi_q, phi_k = F.elu(query) + 1, F.elu(key) + 1
    weight = phi_q @ phi_k.transpose(-1, -2)
    expected = weight / weight.sum(-1, keepdim=True) @ value
    assert torch.allclose(linear_attention(query, key, value), expected, atol=1e-5)
    softmax = (query @ key.transpose(-1, -2) / 8**0.5).softmax(-1) @ value
    assert torch.allclose(full_attention(query, key, value), softmax)  # as trained on a CPU
    with torch.no_grad():
        assert torch.allclose(full_attention(query, key, value), softmax)  # fused


# --- coarse matching


def confidences(values) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float32).log()[None]


def test_selection_is_mutual_and_above_the_threshold():
    found = select(confidences([[0.9, 0.1, 0.1], [0.8, 0.3, 0.1], [0.1, 0.1, 0.15]]), (1, 3), (1, 3), 0.2)
    assert found.cells_0.tolist() == [0]  # row 1 prefers column 0, which prefers row 0; row 2 is below the threshold
    assert found.cells_1.tolist() == [0]
    assert found.confidence.tolist() == pytest.approx([0.9])


def test_ties_leave_one_match_per_cell():
    """Removing the mutual test, or testing for equality with the maximum, would let a cell match twice."""
    tied = confidences([[0.5, 0.5, 0.1], [0.5, 0.5, 0.1], [0.1, 0.1, 0.5]])
    found = select(tied, (1, 3), (1, 3), 0.2)
    assert sorted(found.cells_0.tolist()) == [0, 2]
    assert len(set(found.cells_1.tolist())) == len(found.cells_1)
    mask = (tied == tied.amax(2, keepdim=True)) & (tied == tied.amax(1, keepdim=True))
    assert mask[0].sum(1).max() == 2  # the equality mask has two per row here


def test_the_border_is_counted_in_cells_on_all_four_sides():
    same = torch.full((1, 20, 20), 1e-6).log()
    same[0, range(20), range(20)] = 0.0
    found = select(same, (4, 5), (4, 5), 0.2, border=1)
    assert found.cells_0.tolist() == [6, 7, 8, 11, 12, 13]


@pytest.mark.parametrize("preset", list(PRESETS))
def test_nothing_to_match_is_an_empty_result_of_the_right_shape(preset):
    with torch.no_grad():
        found = stirred(preset)(torch.zeros(1, 1, 64, 64), torch.ones(1, 1, 72, 64), threshold=0.99)
    assert found.points_0.shape == found.points_1.shape == found.coarse_points_1.shape == (0, 2)
    assert found.confidence.shape == found.batch_index.shape == (0,)


# --- refinement


def planted(offset: tuple[int, int], fine: int = 16, size: int = 40):
    """Fine maps in which image_1 is image_0 moved by `offset` fine cells."""
    generator = torch.Generator().manual_seed(2)
    fine_0 = torch.randn(1, fine, size, size, generator=generator)
    return fine_0, torch.roll(fine_0, (offset[1], offset[0]), (2, 3))


GRID = torch.zeros(1, 8, 10, 10)  # stands for the coarse maps, whose width alone is read


@pytest.mark.parametrize("offset", [(0, 0), (2, -1), (-3, 2)])
def test_the_peak_finds_a_planted_shift(offset):
    refinement = Refinement(16, 9)
    with torch.no_grad():
        refinement.log_scale.fill_(4.0)
    fine_0, fine_1 = planted(offset)
    cells = torch.tensor([22, 33])
    matches = CoarseMatches(torch.zeros(2, dtype=torch.long), cells, cells, torch.ones(2))
    found = refinement(fine_0, fine_1, GRID, GRID, matches)
    assert torch.allclose(found.offset, torch.tensor(offset, dtype=torch.float32) * 2, atol=0.2)
    assert found.peak.tolist() == [[2.0 * offset[0], 2.0 * offset[1]]] * 2


def test_places_outside_the_image_have_no_probability():
    refinement = Refinement(16, 9)
    fine_0, fine_1 = planted((0, 0))
    corner = CoarseMatches(torch.zeros(1, dtype=torch.long), torch.tensor([0]), torch.tensor([0]), torch.ones(1))
    heat = refinement(fine_0, fine_1, GRID, GRID, corner).log_heat.detach().exp().view(9, 9)
    assert heat[:4].max() == 0
    assert heat[:, :4].max() == 0
    assert heat.sum() == pytest.approx(1, abs=1e-5)
    windows, inside = gather_windows(fine_1, torch.zeros(1, dtype=torch.long), torch.tensor([[0, 0]]), 9)
    assert windows.shape == (1, 81, 16)
    assert inside.view(9, 9)[4:, 4:].all()
    assert inside.sum() == 25


# --- presets and weights


def test_weights_survive_half_precision_with_their_configuration(tmp_path, model):
    path = save_weights(model, tmp_path / "weights.safetensors", {"steps": 3})
    again = load_model(path)
    assert again.config == model.config
    assert recipe_of(path) == {"steps": 3}
    with torch.no_grad():
        one = model(images(1, 96, 96), images(1, 96, 96, 1), threshold=0.0)
        two = again(images(1, 96, 96), images(1, 96, 96, 1), threshold=0.0)
    same = (one.points_0[:, None] == two.points_0[None]).all(-1) & (
        one.coarse_points_1[:, None] == two.coarse_points_1[None]
    ).all(-1)
    assert same.sum() > 0.9 * len(one.points_0) > 9  # random weights: a few near ties may fall the other way
    first, second = same.nonzero(as_tuple=True)
    assert (one.points_1[first] - two.points_1[second]).norm(dim=1).median() < 0.02


@pytest.mark.parametrize(
    ("content", "message"), [(b"", "holds no weights"), (b"x" * 100, "holds no weights"), (None, "no weights file")]
)
def test_damaged_weights_are_refused(tmp_path, content, message):
    path = tmp_path / "bad.safetensors"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(WeightsError, match=message):
        load_model(path)


def test_weights_of_another_model_are_refused(tmp_path, model):
    from safetensors.torch import load_file, save_file

    path = save_weights(model, tmp_path / "weights.safetensors", {})
    save_file(load_file(path), path, {"config": '{"preset": "micro", "dim": 64, "heads": 4}'})
    with pytest.raises(WeightsError, match="does not fit its own configuration"):
        load_model(path)
    with pytest.raises(WeightsError, match="no weights named 'mikro'"):
        shipped("mikro")


def test_presets_are_small_and_checked():
    count = sum(p.numel() for p in random_model("micro").parameters())
    assert 1e6 < count < 5e6
    with pytest.raises(ConfigError, match=r"dim 128.*heads 5"):
        ModelConfig(heads=5)
    with pytest.raises(ConfigError, match="window is 8"):
        ModelConfig(window=8)
    with pytest.raises(ConfigError, match="unknown key 'depth'"):
        model_config({"depth": 3})
