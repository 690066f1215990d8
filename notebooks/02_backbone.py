# %% [markdown]
# # What does one place of each feature map see, and where does it lie?
#
# The backbone turns an image into maps of features at 1/2, 1/4 and 1/8 of its size. Small maps see far but say roughly
# where; large ones the reverse. A **feature pyramid** takes what the small maps know back up to the large ones. This
# notebook measures how far each place sees, and whether the way back up leaves it where it was.
#
# | parameter | meaning |
# |---|---|
# | `micrograph`, `row`, `column` | a bundled micrograph, and the pixel of it in the middle of what is shown |
# | `pairs`, `side` | made validation pairs, and the side of their crops in px, for the last measurement |
# | `repeats` | runs that a time is the shortest of |

# %% tags=["parameters"]
micrograph = "widefield_fluorescence_jump_u2os_cell_painting_1"
row = 404
column = 510
pairs = 8
side = 192
repeats = 4

# %%
from literate.parameters import check_parameters
from microloftr.errors import ParameterError

check_parameters("02_backbone", globals())
if not 2 <= pairs <= 48 or not 128 <= side <= 320 or not 1 <= repeats <= 20:
    raise ParameterError("pairs must be 2 to 48, side 128 to 320 and repeats 1 to 20.")

# %% [markdown]
# ## Small first
#
# Two corners of a micrograph, 64 × 80 px. `micro` is trained; `loftr` is the published backbone with random weights:
# what follows from its layout is true for any weights.

# %%
import torch

from microloftr import Matcher
from microloftr.model.weights import random_model
from microloftr.views.pyramid_study import bundled_crop

models = {"micro": Matcher.from_pretrained("micro", device="cpu").model, "loftr": random_model("loftr")}
wide, near = bundled_crop(micrograph, row, column, 449, 641), bundled_crop(micrograph, row, column, 193, 289)
corner_0, corner_1 = wide[..., :64, :80], wide[..., 8:72, 8:88]
with torch.inference_mode():
    traces = {name: model.trace(corner_0, corner_1, threshold=0.0) for name, model in models.items()}

letters = {"half": "B, ·, H/2, W/2", "quarter": "B, ·, H/4, W/4", "eighth": "B, C, h, w"}
print(f"image     B, 1, H, W        {tuple(corner_0.shape)}\n{'':28}{'micro':20}loftr")
for name, said in letters.items():
    shapes = [tuple(getattr(trace.encoded.pyramid_0, name).shape) for trace in traces.values()]
    print(f"{name:10}{said:18}{shapes[0]!s:20}{shapes[1]}")
for name, model in models.items():
    print(f"{name}: {sum(p.numel() for p in model.backbone.parameters()):,} parameters in the backbone")

# %% [markdown]
# ## The pyramid
#
# What a place sees is measured by backpropagation: the gradient of one place in the middle of a map with respect to the
# pixels. Its **extent** is where the gradient is not 0. Most of it lies much nearer: the smaller number is the square
# that holds nine tenths of its sum.

# %%
from microloftr.views.backbone_figures import draw_features, draw_fields
from microloftr.views.figures import show
from microloftr.views.pyramid_figure import draw_pyramid
from microloftr.views.pyramid_study import layout_of, maps_of, receptive_fields

layouts = {name: layout_of(model) for name, model in models.items()}
levels = {name: (*layout.down, *layout.up) for name, layout in layouts.items()}
shown = {"micro": wide, "loftr": near}
with torch.inference_mode():
    maps = {n: maps_of(models[n].backbone, shown[n], levels[n], layouts[n].entry) for n in models}
fields = {
    "micro": receptive_fields(models["micro"], wide[..., 96:545], probes=2),
    "loftr": receptive_fields(models["loftr"], near[..., 48:241], probes=1),
}
for name, seen in fields.items():
    print(f"{name}: " + ", ".join(f"{level} {field.extent} px ({field.effective})" for level, field in seen.items()))

# By hand, from kernels and strides: each 3×3 adds 2 px times the stride at which it reads.
by_hand = {"1/2": 7 + 4 * 4, "1/4": 7 + 4 * 4 + 4 + 3 * 8, "1/8": 7 + 4 * 4 + 4 + 3 * 8 + 8 + 3 * 16}
assert {level: fields["loftr"][level].extent for level in by_hand} == by_hand
assert fields["loftr"]["1/8 coarse"].extent == by_hand["1/8"]  # 1×1: the coarse map leaves before the way up
assert fields["loftr"]["1/2 fine"].extent > 6 * fields["loftr"]["1/2"].extent
assert all(field.effective <= field.extent for seen in fields.values() for field in seen.values())

# %% tags=["figure:backbone_published"]
title = "loftr: the published pyramid, random weights"
show(draw_pyramid("resnet_fpn", layouts["loftr"], near[0, 0].numpy(), maps["loftr"], fields["loftr"], title), "png")

# %% tags=["figure:backbone_diagram"]
title = "micro: up again to 1/8 alone, trained"
show(draw_pyramid("micro", layouts["micro"], wide[0, 0].numpy(), maps["micro"], fields["micro"], title), "png")

# %% [markdown]
# `loftr` matches the deepest map before the way up, and refines on the finest after it. `micro` goes deeper, to 1/32,
# and comes back up only to 1/8, where it matches; its maps at 1/2 and 1/4 stay sharp and small-sighted, and refinement
# tells them what the transformer found. Not drawn: `micro`'s 1/2 has 16 channels straight from a 5 × 5 convolution of
# the image, and its 1/4 also takes the image itself, averaged. And before everything `contrast` looks at 33 × 33 px and
# at the whole image; these numbers begin behind it.
#
# The same in numbers and on one scale; dotted: nine tenths of the gradient.

# %% tags=["figure:backbone_fields"]
show(draw_fields(wide[0, 0].numpy(), fields, levels), "png")

# %% [markdown]
# ## Features of real cells
#
# Trained `micro`: the first three principal components of each map as red, green and blue, every place a block. At 1/2
# edges, bright grains and bare ground have colours of their own. At 1/32 the frame of the image shows: what is padded
# there reaches far in. After fusion every cell of the culture looks like a ball lit from one side: a place says on
# which side of it the cell lies, which is what matching needs.

# %%
chosen = [level for level in levels["micro"] if level.name != "1/16"]
show(draw_features(wide[0, 0].numpy(), chosen, maps["micro"]))

# %% [markdown]
# ## Where does a place read, after the way up?
#
# A map of n places is enlarged to 2n. Place i of the result lies on place i/2 of the map below it, so that is where it
# should read. The published `align_corners=True` puts both corners on each other and reads i(n − 1)/(2n − 1) instead.
#
# To measure it in the network itself, its deepest map is replaced by a ramp (each place holds its own x) and every
# kernel made to pass its centre on. What comes out at a place is the x it read.

# %%
import numpy as np

from microloftr.model.resnet_fpn import ResNetFPN
from microloftr.views.pyramid_study import places_read

width, ways = 640, {name: layout.up for name, layout in layouts.items()}
published = places_read(models["loftr"].backbone, "coarse", ways["loftr"], width, 8)
mended = places_read(ResNetFPN(upsampling="exact"), "coarse", ways["loftr"], width, 8)
ours = places_read(models["micro"].backbone, "thirtysecond", ways["micro"], width, 32)
drift = {name: places[:, 1] - places[:, 0] for name, places in published.items()}
for name, values in drift.items():
    print(f"loftr {name:11} left {values[0]:+.2f}, middle {values[len(values) // 2]:+.2f}, right {values[-1]:+.2f} px")
assert -4 < drift["1/4 up"][-1] < -3.9 and -6 < drift["1/2 fine"][-1] < -5.8 and drift["1/2 fine"][0] == 0
rounding = 1e-9  # what is below it depends on the processor
assert all(np.abs(p[:, 1] - p[:, 0]).max() < rounding for p in (*mended.values(), *ours.values()))
print(f"loftr with exact enlarging, and micro: everywhere below {rounding:g} px")

# %% tags=["figure:backbone_drift"]
from microloftr.views.backbone_figures import draw_drift

lines = {"published, to 1/4": published["1/4 up"], "published, to 1/2": published["1/2 fine"]}
show(draw_drift(lines | {"exact, loftr's and micro's": mended["1/2 fine"]}), "png")

# %% [markdown]
# The drift is nothing at the left and top and grows along the image, so two images that overlap by a strip disagree
# most: the strip is right in one and left in the other. A network can learn to make up for some of it, since the map
# beside the way up is in its place, but not for what depends on the size of the image. Beyond the last place of the
# deepest map there is nothing to read, whatever the rule; that strip is left out here.
#
# ## Both images at once, or one after the other?
#
# Where both images have the same size they go through the backbone as one batch. Nothing but time may depend on it.

# %%
from microloftr.views.backbone_study import difference, in_training, padded

image_0, image_1 = near[..., :128, :128], near[..., 60:188, 140:268]
gaps = {}
with torch.inference_mode():
    for name, model in models.items():
        for mode, backbone in (("evaluation", model.backbone), ("training", in_training(model.backbone))):
            both = backbone(torch.cat((image_0, image_1)))
            alone = backbone(image_0), backbone(image_1)
            gaps[name, mode] = difference(both, alone)
rounding = 1e-5  # of the largest value, in float32
for (name, mode), gap in gaps.items():
    how = f"differs by less than {rounding:g}" if gap < rounding else f"differs by {gap:.2f}"
    print(f"{name:6}{mode:11} {how} of the largest value")
assert max(gaps["micro", "evaluation"], gaps["micro", "training"], gaps["loftr", "evaluation"]) < rounding
assert gaps["loftr", "training"] > 0.05

# %% [markdown]
# `loftr` has batch normalisation: in training each sample is shifted and scaled by what else is in its batch, both
# images of all pairs. Then one batch and two passes are two different networks. `micro` has none.
#
# **Unequal sizes need two passes.** To pad the smaller image with black to the size of the larger would make one batch
# of them, but it is not the same image any more:

# %%
small = image_1[..., :64, :112]
with torch.inference_mode():
    for name, model in models.items():
        pyramid_0, pyramid_1 = model.pyramids(image_0, small)  # takes two passes by itself
        assert pyramid_0.eighth.shape[-2:] == (16, 16) and pyramid_1.eighth.shape[-2:] == (8, 14)
        gaps[name, "padded"] = difference(padded(model.backbone, small, 128, 128), [pyramid_1])
        print(f"{name}: padded to 128 × 128, the maps differ by {gaps[name, 'padded']:.2f} of the largest value")
        assert gaps[name, "padded"] > 0.01

# %% [markdown]
# ## The answers

# %% tags=["timing"]
from literate.questions import answer
from microloftr.views.backbone_study import shortest

taken = {}
with torch.inference_mode():
    for name, model in models.items():
        one = lambda model=model: model.pyramids(image_0, image_1)  # noqa: E731
        two = lambda model=model: (model.backbone(image_0), model.backbone(image_1))  # noqa: E731
        taken[name, "one"], taken[name, "two"] = shortest((one, two), repeats)
        print(f"{name}: one batch {1e3 * taken[name, 'one']:.0f} ms, two passes {1e3 * taken[name, 'two']:.0f} ms")
answer(
    "Q25",
    "One batch gives what two passes give to {value:.1e} of the largest value, in {percent:.0f} % of the time on a CPU "
    "(micro; loftr {loftr_percent:.0f} %); only in training loftr's maps change, by {training:.2f}, through batch "
    "normalisation; images of unequal size need two passes.",
    value=max(gaps[name, "evaluation"] for name in models),
    n=repeats,
    more={
        "training": gaps["loftr", "training"],
        "micro_training": gaps["micro", "training"],
        "padded": gaps["loftr", "padded"],
        "micro_padded": gaps["micro", "padded"],
        "percent": 100 * taken["micro", "one"] / taken["micro", "two"],
        "loftr_percent": 100 * taken["loftr", "one"] / taken["loftr", "two"],
        "ms": {f"{name}_{way}": 1e3 * value for (name, way), value in taken.items()},
    },
)

# %% [markdown]
# And what is the way up for? In trained `micro` the two deepest levels can be silenced: its 1/8 map then sees only what
# the way down and the mixing see. A cell counts as right if its most confident partner is at most one cell off. (The
# network was trained with them. What one trained without them would reach is another question.)

# %%
from microloftr.data.fixed import split_atlas
from microloftr.data.pairs import make_pairs
from microloftr.training.supervision import supervise
from microloftr.views.backbone_study import cells_right, muted

made = make_pairs(split_atlas("validation"), "medium", 101, np.arange(pairs), side)
truth = supervise(made).cells_1
right = {"with": cells_right(models["micro"], made.images_0, made.images_1, truth)}
with muted(models["micro"].backbone, ["sixteenth", "thirtysecond"]):
    right["without"] = cells_right(models["micro"], made.images_0, made.images_1, truth)
    shallow = receptive_fields(models["micro"], wide[..., 96:545], names=["1/8 fused"])["1/8 fused"]
for name, shares in right.items():
    print(f"{name:8} {shares.mean():.1%} of the cells right, {len(shares)} pairs")
print(f"1/8 fused sees {fields['micro']['1/8 fused'].extent} px, without the two {shallow.extent} px")
assert shallow.extent < fields["micro"]["1/8 fused"].extent and right["with"].mean() > right["without"].mean()

# %%
answer(
    "Q26",
    "A feature pyramid lets a fine place see far: one of loftr's 1/2 map sees {down} px on the way down and {value} px "
    "after the way up, but as published it reads up to {drift:.1f} px beside its place on an image {wide} px wide; "
    "in trained micro {with_deep:.0f} % of the cells are right with the deepest levels, {without_deep:.0f} % without "
    "({n} pairs).",
    value=fields["loftr"]["1/2 fine"].extent,
    unit="px",
    n=len(truth),
    more={
        "down": fields["loftr"]["1/2"].extent,
        "drift": float(np.abs(drift["1/2 fine"]).max()),
        "drift_quarter": float(np.abs(drift["1/4 up"]).max()),
        "wide": int(published["1/2 fine"][-1, 0]) + 8,
        "with_deep": 100 * right["with"].mean(),
        "without_deep": 100 * right["without"].mean(),
        "shallow": shallow.extent,
        "extent": {
            n: {k.replace("/", "_").replace(" ", "_"): f.extent for k, f in s.items()} for n, s in fields.items()
        },
        "effective": {
            n: {k.replace("/", "_").replace(" ", "_"): f.effective for k, f in s.items()} for n, s in fields.items()
        },
    },
)
