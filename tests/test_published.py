"""The preset `loftr` is the published LoFTR: kornia's, with the same random weights, says the same to the last digits.

Random weights match almost nothing above the published threshold, and a comparison of nothing proves nothing. So each
case is compared in float64 at threshold 0 without a border, the last coarse layer scaled up, on two crops of one noisy
texture, and must have 200 matches or more; then once in float32 as published, and once with nothing to find.
"""

import copy
import hashlib
import io
import math
import shutil
from dataclasses import dataclass, replace
from email.message import Message

import pytest
import torch
from kornia.feature import LoFTR as KorniaLoFTR
from kornia.feature.loftr.loftr import default_cfg
from torch import Tensor
from torch.nn import functional as F

from microloftr.errors import ConfigError, WeightsError
from microloftr.matching import Matcher
from microloftr.model import attention
from microloftr.model import position as position_module
from microloftr.model.coarse_matching import DualSoftmax, select
from microloftr.model.loftr import LoFTR
from microloftr.model.presets import PRESETS, ModelConfig
from microloftr.model.published import RELEASES, load_file, load_published, load_release, rename
from microloftr.model.pyramid import upsample
from microloftr.model.sine_transformer import PublishedTransformer
from microloftr.model.weights import load_model, random_model, save_weights
from microloftr.model.windows import window_places

CASES = {  # batch, sizes of image_0 and image_1, whether parts are padding
    "equal": (1, (176, 184), (176, 184), False),
    "unequal": (1, (184, 176), (176, 192), False),
    "odd": (4, (101, 131), (90, 77), False),
    "batch": (2, (104, 128), (104, 128), False),
    "masks": (2, (136, 144), (128, 144), True),
}
SCALE = 12.0  # of the last coarse layer


@dataclass(frozen=True)
class Theirs:
    points_0: Tensor
    points_1: Tensor
    confidence: Tensor
    batch_index: Tensor
    confidence_matrix: Tensor
    windows_0: Tensor | None
    windows_1: Tensor | None
    deviation: Tensor


def kornia_loftr(threshold: float = 0.0, border: int = 0, released: bool = False, scale: float = SCALE) -> KorniaLoFTR:
    """kornia's LoFTR with random weights; batch statistics that are not those of a fresh network."""
    config = copy.deepcopy(default_cfg)
    config["coarse"]["temp_bug_fix"] = not released
    config["match_coarse"] |= {"thr": threshold, "border_rm": border}
    generator = torch.Generator().manual_seed(0)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = KorniaLoFTR(None, config).eval()
    with torch.no_grad():
        for name, value in model.named_buffers():
            if name.endswith("running_mean"):
                value.copy_(0.1 * torch.randn(value.shape, generator=generator))
            if name.endswith("running_var"):
                value.copy_(0.5 + torch.rand(value.shape, generator=generator))
        for name, value in model.named_parameters():
            if "norm" in name or "bn" in name:
                value.add_(0.1 * torch.randn(value.shape, generator=generator))
        model.loftr_coarse.layers[-1].norm2.weight.mul_(scale)
    return model


def ours_like(theirs: KorniaLoFTR, released: bool = False) -> LoFTR:
    model = LoFTR(replace(PRESETS["loftr"], released_position=released)).eval()
    model.load_state_dict(rename(theirs.state_dict()))  # strict
    return model


def images(case: str) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None]:
    """Crops of one texture whole cells apart, each with noise of its own: many cells are nearest to each other."""
    batch, size_0, size_1, padded = CASES[case]
    generator = torch.Generator().manual_seed(list(CASES).index(case))
    texture = F.interpolate(torch.rand(batch, 1, 90, 90, generator=generator), (240, 240), mode="bicubic")
    image_0, image_1 = texture[..., : size_0[0], : size_0[1]], texture[..., 8 : size_1[0] + 8, 16 : size_1[1] + 16]
    image_0, image_1 = (
        (image + 0.02 * torch.randn(image.shape, generator=generator)).clamp(0, 1) for image in (image_0, image_1)
    )
    if not padded:
        return image_0, image_1, None, None
    masks = [torch.zeros(batch, *size, dtype=torch.bool) for size in (size_0, size_1)]
    for mask in masks:
        mask[0, :, : mask.shape[2] // 8 * 8 - 15] = True  # ends one pixel after a cell's centre
        mask[1, : mask.shape[1] - 12] = True
    return image_0 * masks[0][:, None], image_1 * masks[1][:, None], *masks


def run_theirs(model: KorniaLoFTR, image_0, image_1, mask_0=None, mask_1=None) -> Theirs:
    seen = {}
    hooks = [
        model.coarse_matching.register_forward_hook(lambda m, args, out: seen.update(data=args[2])),
        model.loftr_fine.register_forward_hook(lambda m, args, out: seen.update(windows=out)),
    ]
    data = {"image0": image_0, "image1": image_1}
    if mask_0 is not None:
        data |= {"mask0": mask_0, "mask1": mask_1}
    with torch.no_grad():
        out = model(data)
    for hook in hooks:
        hook.remove()
    names = ("keypoints0", "keypoints1", "confidence", "batch_indexes")
    windows = seen.get("windows", (None, None))
    return Theirs(*(out[n] for n in names), seen["data"]["conf_matrix"], *windows, seen["data"]["expec_f"][:, 2])


def deviation(log_heat: Tensor) -> Tensor:
    """σ_x + σ_y (M,) of heat maps (M, W²) in half windows, by whose inverse the published code weighs its fine loss."""
    window = int(log_heat.shape[1] ** 0.5)
    places, heat = window_places(window, log_heat) / (window // 2), log_heat.exp()
    return (heat @ places**2 - (heat @ places) ** 2).clamp(min=1e-10).sqrt().sum(1)


def compare(model: LoFTR, theirs: Theirs, image_0, image_1, mask_0=None, mask_1=None) -> None:
    with torch.no_grad():
        trace = model.trace(image_0, image_1, 0.0, 0, mask_0, mask_1)
    matches = trace.matches
    assert torch.equal(matches.batch_index, theirs.batch_index)
    torch.testing.assert_close(matches.points_0.double(), theirs.points_0.double(), rtol=0, atol=1e-6)
    torch.testing.assert_close(matches.points_1, theirs.points_1, rtol=0, atol=1e-6)
    torch.testing.assert_close(matches.confidence, theirs.confidence, rtol=0, atol=1e-9)
    torch.testing.assert_close(trace.confidence_matrix, theirs.confidence_matrix, rtol=0, atol=1e-9)
    torch.testing.assert_close(trace.refined.windows_0, theirs.windows_0, rtol=0, atol=1e-9)
    torch.testing.assert_close(trace.refined.windows_1, theirs.windows_1, rtol=0, atol=1e-9)
    torch.testing.assert_close(deviation(trace.refined.log_heat), theirs.deviation, rtol=0, atol=1e-9)


@pytest.fixture(scope="module")
def theirs():
    return kornia_loftr().double()


@pytest.fixture(scope="module")
def ours(theirs):
    return ours_like(theirs).double()


@pytest.fixture(scope="module")
def batch_case(theirs):
    given = images("batch")
    given = given[0].double(), given[1].double()
    return given, run_theirs(theirs, *given)


@pytest.mark.parametrize("case", list(CASES))
def test_the_same_to_the_last_digits(theirs, ours, case):
    image_0, image_1, *masks = images(case)
    given = image_0.double(), image_1.double(), *masks
    expected = run_theirs(theirs, *given)
    assert len(expected.confidence) >= 200
    compare(ours, expected, *given)


def test_the_slip_of_the_released_weights():
    given = tuple(image.double() for image in images("odd")[:2])
    released = kornia_loftr(released=True).double()
    expected = run_theirs(released, *given)
    assert len(expected.confidence) >= 200
    compare(ours_like(released, released=True).double(), expected, *given)
    with pytest.raises(AssertionError):
        compare(ours_like(released, released=False).double(), expected, *given)


@pytest.mark.parametrize("something", [True, False])
def test_float32_at_the_published_settings(something):
    """Threshold 0.2, border 2; with faint features nothing is above it, and the empty answers agree in shape too."""
    theirs = kornia_loftr(0.2, 2, scale=SCALE if something else 0.3)
    if not something:
        theirs.backbone.layer3_outconv.weight.data.mul_(0.03)
    model = ours_like(theirs)
    image_0, image_1, *_ = images("equal")
    expected = run_theirs(theirs, image_0, image_1)
    with torch.no_grad():
        found = model(image_0, image_1, 0.2, 2)
    assert (len(expected.confidence) > 20) if something else (len(expected.confidence) == 0)
    assert len(found.confidence) == len(expected.confidence)
    torch.testing.assert_close(found.points_0, expected.points_0)
    torch.testing.assert_close(found.points_1, expected.points_1, rtol=0, atol=2e-2)
    torch.testing.assert_close(found.confidence, expected.confidence, rtol=0, atol=2e-3)
    assert found.points_0.shape == found.points_1.shape == (len(found.confidence), 2)
    assert found.points_1.dtype == torch.float32


def change_temperature(model, monkeypatch):
    monkeypatch.setattr(DualSoftmax, "TEMPERATURE", 0.1001)


def change_base(model, monkeypatch):
    monkeypatch.setattr(position_module, "BASE", 10_010.0)


def change_slope(model, monkeypatch):
    monkeypatch.setattr(model.backbone.mix_half[2], "negative_slope", 0.0101)


def change_layer_norm(model, monkeypatch):
    monkeypatch.setattr(model.transformer.layers[3].norm_message, "eps", 2e-5)


def change_batch_norm(model, monkeypatch):
    monkeypatch.setattr(model.backbone.down_quarter[0].norm_1, "eps", 2e-5)


def change_queries(model, monkeypatch):
    def linear(query, key, value, *masks):
        return attention.linear_attention(query * 1.0001, key, value, *masks)

    for layer in model.transformer.layers:
        monkeypatch.setattr(layer, "attend", linear)


def change_heads(model, monkeypatch):
    monkeypatch.setattr(model.refinement.transformer.layers[0], "heads", 4)


def change_window_stride(model, monkeypatch):
    monkeypatch.setattr("microloftr.model.expectation.FINE_STRIDE", 2.0001)


def change_order(model, monkeypatch):
    """Symmetric cross-attention, as `micro` has it."""

    def forward(self, x_0, x_1, mask_0=None, mask_1=None):
        for self_layer, cross_layer in zip(self.layers[::2], self.layers[1::2], strict=True):
            x_0, x_1 = self_layer(x_0, x_0, mask_0, mask_0), self_layer(x_1, x_1, mask_1, mask_1)
            x_0, x_1 = cross_layer(x_0, x_1, mask_0, mask_1), cross_layer(x_1, x_0, mask_1, mask_0)
        return x_0, x_1

    monkeypatch.setattr(PublishedTransformer, "forward", forward)


def change_upsampling(model, monkeypatch):
    monkeypatch.setattr(model.backbone, "upsample", upsample)


@pytest.mark.parametrize(
    "change",
    [
        change_temperature, change_base, change_slope, change_layer_norm, change_batch_norm, change_queries,
        change_heads, change_window_stride, change_order, change_upsampling,
    ],
    ids=lambda f: f.__name__,
)  # fmt: skip
def test_one_changed_constant_is_noticed(theirs, batch_case, monkeypatch, change):
    given, expected = batch_case
    model = ours_like(theirs).double()
    change(model, monkeypatch)
    with pytest.raises(AssertionError):
        compare(model, expected, *given)


# --- the preset


def test_the_preset_and_its_releases_are_the_published_ones():
    published_loftr = ModelConfig(
        preset="loftr",
        backbone="resnet_fpn",
        upsampling="align_corners",
        dim=256,
        heads=8,
        layers=4,
        transformer="sine",
        released_position=False,
        attention="linear",
        matching="dual_softmax",
        refinement="expectation",
        fine_dim=128,
        fine_heads=8,
        window=5,
        threshold=0.2,
        pixel_centre=0.0,
    )
    assert PRESETS["loftr"] == published_loftr
    assert {name: (r.file, r.sha256[:8], r.config) for name, r in RELEASES.items()} == {
        "loftr-outdoor": (
            "loftr_outdoor.ckpt",
            "21f5bec5",
            replace(published_loftr, released_position=True, pixel_centre=0.5),
        ),
        "loftr-indoor": ("loftr_indoor_ds_new.ckpt", "be9ff88b", replace(published_loftr, pixel_centre=0.5)),
    }


def test_fresh_weights_are_drawn_as_published():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        theirs, ours = rename(KorniaLoFTR(None).state_dict()), LoFTR(PRESETS["loftr"]).state_dict()
    for name, value in theirs.items():
        if value.numel() > 1000:
            assert ours[name].std() == pytest.approx(float(value.std()), rel=0.1), name
        elif value.ndim == 1 and "refinement" not in name:
            assert torch.equal(ours[name], value), name


def test_without_a_threshold_the_preset_s_counts(ours):
    image_0, image_1, *_ = (image.double() for image in images("batch")[:2])
    with torch.no_grad():
        plain, published_threshold, all_of_them = (ours(image_0, image_1, *t) for t in ((), (0.2,), (0.0,)))
    assert torch.equal(plain.confidence, published_threshold.confidence)
    assert 0 < len(plain.confidence) < len(all_of_them.confidence)


def test_the_border_of_either_image_is_left_out():
    """3×3 cells; the centre of one image matches a corner of the other."""
    for cell_0, cell_1 in ((4, 0), (0, 4)):
        log_confidence = torch.full((1, 9, 9), -20.0)
        log_confidence[0, cell_0, cell_1] = -0.1
        assert len(select(log_confidence, (3, 3), (3, 3), 0.2).cells_0) == 1
        assert len(select(log_confidence, (3, 3), (3, 3), 0.2, border=1).cells_0) == 0
    log_confidence = torch.full((1, 9, 9), -20.0)
    log_confidence[0, 4, 4] = -0.1
    assert len(select(log_confidence, (3, 3), (3, 3), 0.2, border=1).cells_0) == 1


def test_the_preset_has_the_published_size():
    parts = {name: sum(p.numel() for p in part.parameters()) for name, part in random_model("loftr").named_children()}
    assert sum(parts.values()) == 11_561_456
    assert parts["transformer"] == 5_251_072


def test_masked_cells_never_match_and_the_border_counts_from_the_padding(ours):
    image_0, image_1, mask_0, mask_1 = images("masks")
    with torch.no_grad():
        free = ours.trace(image_0.double(), image_1.double(), 0.0, 0, mask_0, mask_1)
        inner = ours.trace(image_0.double(), image_1.double(), 0.0, 2, mask_0, mask_1)
    assert (free.confidence_matrix.sum(2) == 0).sum() == (~mask_0[:, ::8, ::8]).sum()
    assert 0 < len(inner.matches.points_0) < len(free.matches.points_0)
    for image, mask, points in ((0, mask_0, "points_0"), (1, mask_1, "coarse_points_1")):
        for trace, border in ((free, 0), (inner, 16)):
            found = getattr(trace.matches, points)
            for pair in range(2):
                mine = found[trace.matches.batch_index == pair]
                rows, columns = mask[pair].any(1).sum(), mask[pair].any(0).sum()
                last = torch.tensor([math.ceil(columns / 8) - 1, math.ceil(rows / 8) - 1]) * 8 - border
                assert len(mine) > 0, image
                assert (mine >= border).all()
                assert (mine <= last).all()


def test_order_matters_as_published(ours):
    image_0, image_1, *_ = images("equal")
    image_0, image_1 = image_0.double(), image_1.flip(3).double()
    with torch.no_grad():
        there = ours.trace(image_0, image_1).log_confidence
        back = ours.trace(image_1, image_0).log_confidence
    assert not torch.allclose(there, back.transpose(1, 2), atol=1e-3)


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"fine_dim": 92, "backbone": "micro", "fine_heads": 8}, "model.fine_dim 92 does not split into model.fine_h"),
        ({"fine_dim": 96}, "model.fine_dim is 96; the fine map of resnet_fpn has 128 channels"),
        ({"backbone": "one_conv"}, "model.window is 5; one_conv has no fine map to refine on"),
        ({"dim": 250, "heads": 5}, "model.dim is 250; positions need a multiple of 4 channels"),
        ({"transformer": "sines"}, "model.transformer is 'sines'; it must be rotary or sine"),
        ({"threshold": 1.0}, "model.threshold is 1.0; it must be at least 0 and below 1"),
    ],
)
def test_what_does_not_go_together_is_refused(changes, fault):
    with pytest.raises(ConfigError, match=fault.replace("(", r"\(")):
        replace(PRESETS["loftr"], **changes)


@pytest.mark.parametrize(
    "changes",
    [
        {"backbone": "micro", "fine_dim": 92, "fine_heads": 4},
        {"transformer": "rotary", "attention": "full"},
        {"matching": "matchability", "upsampling": "exact"},
        {"refinement": "pick", "window": 9},
        {"window": 0},
    ],
)
def test_parts_of_both_presets_can_be_put_together(changes):
    model = LoFTR(replace(PRESETS["loftr"], **changes)).eval()
    image = torch.rand(1, 1, 64, 72, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        matches = model(image, image, 0.0)
    assert torch.isfinite(matches.points_1).all()
    assert len(matches.points_0) > 5


# --- the checkpoint


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """A file of the layout of the released checkpoints: 211 tensors, prefixed by `matcher.`."""
    model = kornia_loftr(0.0, 0, released=True)
    path = tmp_path_factory.mktemp("released") / "loftr_outdoor.ckpt"
    state = {f"matcher.{name}": value for name, value in model.state_dict().items()}
    assert len(state) == 211
    torch.save({"state_dict": state}, path)
    return path, model


@pytest.fixture
def known(checkpoint, monkeypatch):
    """As if that file were the released one."""
    digest = hashlib.sha256(checkpoint[0].read_bytes()).hexdigest()
    outdoor = replace(RELEASES["loftr-outdoor"], sha256=digest)
    monkeypatch.setitem(RELEASES, "loftr-outdoor", outdoor)
    return checkpoint


def test_a_released_checkpoint_loads_strictly_with_its_quirks(checkpoint):
    path, theirs = checkpoint
    model = load_published(path, RELEASES["loftr-outdoor"].config)
    assert (model.config.released_position, model.config.pixel_centre) == (True, 0.5)
    assert not model.training
    given = tuple(image.double() for image in images("batch")[:2])
    compare(model.double(), run_theirs(copy.deepcopy(theirs).double(), *given), *given)


@pytest.mark.parametrize("by", ["name", "file"])
def test_from_pretrained_corrects_the_half_pixel_frame(known, monkeypatch, tmp_path, by):
    path, theirs = known
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    (tmp_path / "checkpoints").mkdir()
    shutil.copy(path, tmp_path / "checkpoints" / path.name)
    name = "loftr-outdoor" if by == "name" else str(shutil.copy(path, tmp_path / "of any name.ckpt"))
    matcher = Matcher.from_pretrained(name, device="cpu", search=False, threshold=0.0)
    image_0, image_1, *_ = images("equal")
    found = matcher.match(image_0[0, 0].numpy(), image_1[0, 0].numpy())
    expected = run_theirs(theirs, image_0, image_1)
    order = expected.confidence.argsort(descending=True, stable=True)
    assert len(found) == len(order) > 100
    assert matcher.model.config.released_position
    torch.testing.assert_close(torch.tensor(found.points_0), expected.points_0[order].double() - 0.5)
    distance = torch.tensor(found.points_1) - (expected.points_1[order].double() - 0.5)
    assert distance.abs().quantile(0.98) < 1e-2


def test_a_file_that_no_digest_names_is_not_guessed_at(checkpoint, tmp_path):
    with pytest.raises(WeightsError, match="is none of the published checkpoints loftr-outdoor, loftr-indoor"):
        Matcher.from_pretrained(str(checkpoint[0]))
    with pytest.raises(WeightsError, match="there is no checkpoint"):
        load_file(tmp_path / "missing.ckpt")


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b"not a checkpoint", "is damaged or holds more than tensors"),
        (b"PK", "is no checkpoint that can be read|is damaged or holds more than tensors"),
        (b"", "is no checkpoint that can be read"),
        ({"state_dict": {}}, "holds no weights"),
        ({"state_dict": [1, 2]}, "holds no weights"),
        ({"state_dict": torch.zeros(3)}, "holds no weights"),
        ({1: torch.zeros(3)}, "holds no weights"),
        ({"epoch": 3}, "holds no weights"),
        ("missing", "is not the LoFTR that loftr describes: it lacks a tensor, backbone.lateral_quarter.weight"),
        ("more", "is not the LoFTR that loftr describes: it has a tensor too many, backbone.extra"),
        ("shape", r"backbone.lateral_quarter.weight is \(3, 3\) where \(256, 196, 1, 1\) belongs"),
        ("nan", "is damaged: backbone.lateral_quarter.weight holds numbers that are not finite"),
        (print, "is damaged or holds more than tensors; if you trust it, save its state_dict alone"),
    ],
)
def test_a_wrong_checkpoint_is_refused_in_one_sentence(checkpoint, tmp_path, content, fault):
    _, theirs = checkpoint
    wrong = tmp_path / "wrong.ckpt"
    state = theirs.state_dict()
    if content == "missing":
        del state["backbone.layer2_outconv.weight"]
    elif content == "more":
        state["backbone.extra"] = torch.zeros(3)
    elif content == "shape":
        state["backbone.layer2_outconv.weight"] = torch.zeros(3, 3)
    elif content == "nan":
        state["backbone.layer2_outconv.weight"] = torch.full_like(state["backbone.layer2_outconv.weight"], math.nan)
    if isinstance(content, bytes):
        wrong.write_bytes(content)
    else:
        torch.save({"state_dict": state} if isinstance(content, str) else content, wrong)
    with pytest.raises(WeightsError, match=fault) as caught:
        load_published(wrong, PRESETS["loftr"])
    assert "\n" not in str(caught.value)


def test_fetching_tries_both_hosts_and_keeps_nothing_half(known, tmp_path, monkeypatch, capsys):
    path, _ = known
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    asked = []

    class Reply(io.BytesIO):
        def info(self):
            headers = Message()
            headers["Content-Length"] = str(len(self.getvalue()))
            return headers

    def serve(content):
        def urlopen(request):
            asked.append(request.full_url)
            return Reply(content if "cmp.felk" in request.full_url else b"<html>moved</html>")

        monkeypatch.setattr(torch.hub, "urlopen", urlopen)

    serve(b"<html>gone</html>")
    with pytest.raises(WeightsError, match=r"loftr-outdoor cannot be fetched \(invalid hash value .* by hand and save"):
        load_release("loftr-outdoor")
    assert "Fetching loftr-outdoor, 46 MB" in capsys.readouterr().err
    assert list((tmp_path / "checkpoints").iterdir()) == []
    serve(path.read_bytes())
    assert load_release("loftr-outdoor").config.released_position
    assert [address.split("/")[2] for address in asked] == 2 * ["huggingface.co", "cmp.felk.cvut.cz"]
    (kept,) = (tmp_path / "checkpoints").iterdir()
    kept.write_bytes(kept.read_bytes()[:-1])
    with pytest.raises(WeightsError, match="its SHA-256 is another one; delete it"):
        load_release("loftr-outdoor")


def test_without_a_network_the_error_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))  # conftest.py closes the network
    with pytest.raises(WeightsError, match=r"cannot be fetched .* by hand and save it as .*loftr_outdoor\.ckpt"):
        Matcher.from_pretrained("loftr-outdoor")


def test_weights_carry_their_configuration_and_refuse_another(tmp_path):
    model = random_model("loftr")
    model.backbone.stem[1].num_batches_tracked.fill_(100_001)  # beyond half precision
    path = save_weights(model, tmp_path / "loftr.safetensors", {})
    assert load_model(path).backbone.stem[1].num_batches_tracked == 100_001
    assert load_model(path, PRESETS["loftr"]).config == PRESETS["loftr"]
    with pytest.raises(WeightsError, match=r"belong to another model: their model\.window is 5, not 7"):
        load_model(path, replace(PRESETS["loftr"], window=7))
