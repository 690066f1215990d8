"""Notebook 02's measurements and figures: what a place sees and reads, batches, deep levels, and the drawings."""

from importlib.resources import as_file, files

import numpy as np
import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.patches import Polygon, Rectangle
from torch.nn import functional as F

from microloftr.errors import ParameterError
from microloftr.images import read_image
from microloftr.model.pyramid import Pyramid
from microloftr.model.resnet_fpn import ResNetFPN
from microloftr.model.weights import random_model
from microloftr.views import backbone_figures as figures
from microloftr.views import backbone_study as study
from microloftr.views import pyramid_figure, pyramid_study
from microloftr.views.pyramid_study import LAYOUTS, Field, Level

MODELS = {name: random_model(name) for name in ("micro", "loftr")}


def noise(height: int, width: int, seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).uniform(size=(1, 1, height, width)).astype(np.float32))


def extent(*kernels: tuple[int, int]) -> int:
    """Pixels that a chain of (kernel, stride) sees."""
    seen, step = 1, 1
    for kernel, stride in kernels:
        seen, step = seen + (kernel - 1) * step, step * stride
    return seen


# --- what a place sees


def test_fields_are_as_long_as_kernels_and_strides_say():
    down = [(3, 1), (3, 2), (3, 1)], [(3, 2), (3, 1), (3, 1)], [(3, 2), (3, 1), (1, 1)], [(3, 2), (3, 1), (3, 1)]
    chain: list[tuple[int, int]] = []
    expected = {}
    for name, layers in zip(("1/2", "1/4", "1/8", "1/16"), down, strict=True):
        expected[name] = extent(*(chain := chain + layers))
    expected["1/32"] = extent(*chain, (3, 2), (3, 1), (3, 1), (1, 1))
    # 1/32 enlarged twice reaches one of its places further at most, less one of 1/8; then two 3×3 at 1/8
    expected["1/8 fused"] = expected["1/32"] + 2 * 2 * 2 * 8
    seen = pyramid_study.receptive_fields(MODELS["micro"], noise(385, 385), probes=1)
    assert {name: seen[name].extent for name in expected if name != "1/8 fused"} == {
        name: value for name, value in expected.items() if name != "1/8 fused"
    }
    assert expected["1/32"] < seen["1/8 fused"].extent <= expected["1/8 fused"] + 64
    assert all(1 <= field.effective <= field.extent for field in seen.values())


def test_named_levels_alone_and_silenced_levels_see_less():
    model = MODELS["micro"]
    with study.muted(model.backbone, ["sixteenth", "thirtysecond"]):
        short = pyramid_study.receptive_fields(model, noise(193, 193), probes=1, names=["1/8 fused"])
    assert list(short) == ["1/8 fused"]
    assert short["1/8 fused"].extent == 53 + 2 * 2 * 8  # the way down to 1/8, then two 3×3 there


def test_loftrs_way_up_sees_further_than_its_way_down():
    seen = pyramid_study.receptive_fields(MODELS["loftr"], noise(193, 193), probes=1, names=["1/2", "1/8", "1/2 fine"])
    assert seen["1/2"].extent == extent((7, 2), *[(3, 1)] * 4) == 23
    assert seen["1/8"].extent == extent((7, 2), *[(3, 1)] * 4, (3, 2), *[(3, 1)] * 3, (3, 2), *[(3, 1)] * 3) == 107
    assert seen["1/2 fine"].extent > seen["1/8"].extent + 2 * 2 * 4 + 2 * 2 * 2


def test_a_field_by_hand():
    heat = np.zeros((9, 11))
    heat[4, 5], heat[4, 6], heat[2, 5] = 5, 4, 1
    field = Field.of(heat)
    assert (field.extent, field.effective) == (5, 3)
    heat[0, 5] = 3  # now nine tenths reach further
    assert (Field.of(heat).extent, Field.of(heat).effective) == (9, 9)


def test_what_cannot_be_measured_is_named():
    with pytest.raises(ParameterError, match=r"64·n \+ 1 px, not 100 and 129"):
        pyramid_study.receptive_fields(MODELS["micro"], noise(100, 129))
    with pytest.raises(ParameterError, match="'one_conv' has no pyramid"):
        pyramid_study.layout_of(random_model("one_conv"))
    with pytest.raises(ParameterError, match="no bundled micrograph 'moon'"):
        pyramid_study.bundled_crop("moon", 10, 10, 5, 5)
    with pytest.raises(ParameterError, match="reach beyond"):
        pyramid_study.bundled_crop("confocal_fluorescence_cells_er_exit_sites_1", 10, 300, 33, 33)


def test_a_crop_has_its_pixel_in_the_middle():
    name = "confocal_fluorescence_cells_er_exit_sites_1"
    small, large = (pyramid_study.bundled_crop(name, 200, 210, *size) for size in ((5, 7), (65, 33)))
    assert small.shape == (1, 1, 5, 7) and torch.equal(small, large[..., 30:35, 13:20])
    with as_file(files("microloftr") / "micrographs" / f"{name}.jp2") as path:
        whole = read_image(path).pixels
    np.testing.assert_array_equal(small[0, 0].numpy(), whole[198:203, 207:214])


def test_hooks_are_gone_afterwards_and_maps_are_those_of_the_forward_pass():
    model, image = MODELS["loftr"], noise(33, 41)
    layout = pyramid_study.layout_of(model)
    with torch.inference_mode():
        maps = pyramid_study.maps_of(model.eval().backbone, image, (*layout.down, *layout.up), layout.entry)
        pyramid = model.backbone(image)
        again = model.backbone.coarse(maps["1/8"])
    assert torch.equal(maps["1/2 fine"], pyramid.half) and torch.equal(maps["1/8 coarse"], pyramid.eighth)
    assert torch.equal(again, pyramid.eighth) and torch.equal(maps["input"], image)
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in model.backbone.modules())


# --- where it reads


def test_the_published_way_up_drifts_and_the_exact_one_does_not():
    up = LAYOUTS["resnet_fpn"].up
    read = pyramid_study.places_read(MODELS["loftr"].backbone, "coarse", up, 320, 8)
    lies, found = read["1/4 up"].T
    assert np.array_equal(lies, np.arange(79) * 4.0)  # up to 312, the last place of 1/8
    np.testing.assert_allclose(found, np.arange(79) * 8 * 39 / 79, atol=1e-9)  # i(n − 1)/(2n − 1), 8 px a place
    assert read["1/2 fine"][-1, 1] - read["1/2 fine"][-1, 0] == pytest.approx(-6, abs=0.2)
    exact = pyramid_study.places_read(ResNetFPN(upsampling="exact"), "coarse", up, 320, 8)
    ours = pyramid_study.places_read(MODELS["micro"].backbone, "thirtysecond", LAYOUTS["micro"].up, 320, 32)
    for places in (*exact.values(), *ours.values()):
        assert len(places) > 35
        np.testing.assert_allclose(places[:, 1], places[:, 0], atol=1e-9)


def test_another_fault_of_enlarging_is_seen_too():
    faulty = ResNetFPN(upsampling="exact")
    faulty.upsample = lambda maps, height, width: F.interpolate(maps, (height, width), mode="bilinear")
    lies, found = pyramid_study.places_read(faulty, "coarse", LAYOUTS["resnet_fpn"].up, 320, 8)["1/4 up"].T
    np.testing.assert_allclose((found - lies)[1:], -2)  # a quarter of a place, everywhere but at the rim


# --- batches


def test_one_batch_is_two_passes_but_for_batch_normalisation_in_training():
    a, b = noise(40, 48, 1), noise(40, 48, 2) ** 3
    gaps = {}
    with torch.inference_mode():
        for name, model in MODELS.items():
            model.eval()
            for mode, backbone in (("evaluation", model.backbone), ("training", study.in_training(model.backbone))):
                gaps[name, mode] = study.difference(backbone(torch.cat((a, b))), (backbone(a), backbone(b)))
            assert not model.backbone.training
    assert gaps.pop(("loftr", "training")) > 0.05
    assert max(gaps.values()) < 1e-5


def test_a_difference_is_a_share_of_the_largest_value():
    maps = torch.tensor([[[[1.0, -4.0]]]])
    whole = Pyramid(None, torch.cat((maps, maps)), torch.cat((maps, maps)))
    assert study.difference(whole, (Pyramid(None, maps, maps), Pyramid(None, maps, maps))) == 0
    assert study.difference(whole, (Pyramid(None, maps, maps), Pyramid(None, maps, maps + 1))) == 0.25


def test_padding_cuts_back_to_the_image_and_changes_it():
    model, image = MODELS["micro"].eval(), noise(37, 51)
    with torch.inference_mode():
        alone = model.backbone(image)
        assert study.difference(study.padded(model.backbone, image, 37, 51), [alone]) == 0
        larger = study.padded(model.backbone, image, 64, 80)
    assert [m.shape for m in (larger.half, larger.eighth)] == [m.shape for m in (alone.half, alone.eighth)]
    assert study.difference(larger, [alone]) > 0.01


def test_shortest_takes_turns():
    called: list[tuple[str, int]] = []
    before = torch.get_num_threads()
    calls = [lambda name=name: called.append((name, torch.get_num_threads())) for name in "ab"]
    times = study.shortest(calls, 3)
    assert called == [("a", 1), ("b", 1)] * 3 and len(times) == 2 and min(times) >= 0
    assert torch.get_num_threads() == before


def test_muting_ends_and_cells_are_right_within_one():
    model, image = MODELS["micro"].eval(), noise(48, 64)
    with torch.inference_mode():
        before = model.backbone(image).eighth
        with study.muted(model.backbone, ["thirtysecond"]):
            assert not torch.equal(model.backbone(image).eighth, before)
        assert torch.equal(model.backbone(image).eighth, before)
        encoded = model.encode(*model.pyramids(image, image))
        best = model.match_cells(encoded).log_confidence.argmax(2)
    both = torch.cat((image, image))
    beside = torch.where(best % 8 < 7, best + 1, best - 1)
    off = torch.where(best % 8 < 4, best + 3, best - 3)
    right = study.cells_right(model, both, both, torch.cat((beside, off)))
    assert right.tolist() == [1, 0]
    assert study.cells_right(model, image, image, torch.where(torch.arange(48) < 5, off, -1)).tolist() == [0]


# --- figures


def made(kind: str, height: int = 129, width: int = 193):
    layout, generator = LAYOUTS[kind], torch.Generator().manual_seed(0)
    maps, seen = {}, {}
    for number, level in enumerate((*layout.down, *layout.up)):
        size = -(-height // level.stride), -(-width // level.stride)
        maps[level.name] = torch.randn(1, 10 + number, *size, generator=generator)
        heat = np.zeros((65, 65))
        heat[32 - 3 - number : 33 + 3 + number, 32 - 3 - number : 33 + 3 + number] = 1
        heat[32, 32] = 1e4
        seen[level.name] = Field.of(heat)
    return layout, noise(height, width)[0, 0].numpy(), maps, seen


@pytest.mark.parametrize("kind", LAYOUTS)
def test_the_pyramid_says_every_shape_and_outlines_what_is_seen(kind):
    layout, image, maps, seen = made(kind)
    figure = pyramid_figure.draw_pyramid(kind, layout, image, maps, seen, "a title")
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    main, inset = figure.axes
    said = [text.get_text() for text in main.texts]
    for level in (*layout.down, *layout.up):
        assert " × ".join(map(str, maps[level.name].shape[1:])) in said and level.name in said
        assert f"sees {seen[level.name].extent} px" in said
    for text in (*main.texts, *figure.texts):
        box = text.get_window_extent(canvas.get_renderer())
        assert box.x0 >= 0 and box.y0 >= 0 and box.x1 <= figure.bbox.x1 and box.y1 <= figure.bbox.y1, text.get_text()
    tiles, _ = pyramid_figure._stack(len(layout.down), image.shape[0] / image.shape[1])
    drawn = [patch.get_xy()[:4] for patch in main.patches if isinstance(patch, Polygon)]
    for level in layout.down:
        side = seen[level.name].extent
        square = tiles[0].square(side / image.shape[1], side / image.shape[0])
        assert any(np.allclose(square, corners) for corners in drawn), level
    sides = [patch.get_width() for patch in inset.patches if isinstance(patch, Rectangle)]
    assert sides == [seen[level.name].extent for level in (*layout.down, layout.up[-1])]


def test_a_tile_is_the_map_seen_from_the_side():
    tile = pyramid_figure.Tile(3.0, 2.0, 1.5, 0.5)
    np.testing.assert_allclose(tile.at(0, 0), (3, 2))
    np.testing.assert_allclose(tile.at(0.5, 0) - tile.at(-0.5, 0), (1.5, 0))
    assert tile.at(0, -0.5)[1] == pytest.approx(2 + tile.rise) and tile.at(0, -0.5)[0] > 3  # far: up and to the right


def test_fields_and_features_are_drawn_with_their_numbers():
    layout, image, maps, seen = made("micro")
    levels = (*layout.down, *layout.up)
    fields = figures.draw_fields(image, {"micro": seen}, {"micro": levels})
    for axes, level in zip(fields.axes, levels, strict=True):
        field = seen[level.name]
        assert axes.get_title() == f"{level.name}\n{field.extent} px, most in {field.effective}"
        assert [patch.get_width() for patch in axes.patches] == [field.extent, field.effective]
    features = figures.draw_features(image, levels[:3], maps)
    shown = [axes for axes in features.axes if axes.images]
    assert len(shown) == 4 and shown[1].get_title() == f"1/2: 10 × {maps['1/2'].shape[2]} × {maps['1/2'].shape[3]}"
    shape = shown[1].images[0].get_array().shape
    assert shape == (*maps["1/2"].shape[2:], 3)


def test_the_drift_is_drawn_as_read_minus_place():
    x = np.arange(0, 101, 10.0)
    figure = figures.draw_drift({"a": np.stack((x, 0.9 * x), 1), "b": np.stack((x, x), 1)})
    (axes,) = figure.axes
    np.testing.assert_allclose(axes.lines[0].get_ydata(), -0.1 * x)
    np.testing.assert_allclose(axes.lines[1].get_ydata(), 0)
    assert [text.get_text() for text in axes.texts] == ["a: -10.0 px", "b: 0 px"]


def test_levels_are_where_a_model_says():
    for kind, layout in LAYOUTS.items():
        backbone = {"micro": MODELS["micro"], "resnet_fpn": MODELS["loftr"]}[kind].backbone
        with torch.inference_mode():
            maps = pyramid_study.maps_of(backbone, noise(65, 129), (*layout.down, *layout.up), layout.entry)
        for level in (*layout.down, *layout.up):
            assert isinstance(level, Level)
            assert maps[level.name].shape[-2:] == (64 // level.stride + 1, 128 // level.stride + 1)
