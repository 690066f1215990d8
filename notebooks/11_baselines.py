# %% [markdown]
# # Is a network needed at all?
#
# Micrographs were registered long before networks. This notebook puts the matchers that need no training, and some that
# others have trained, behind the same one method as ours, looks at what each makes of one pair, where each breaks, and
# what it took to be fair to them. At the end stands one of your own, in ten lines.
#
# | parameter | meaning |
# |---|---|
# | `level`, `number` | which fixed validation pair the quick ones are shown, with known truth |
# | `matchers` | the quick ones, separated by commas; any name of `get_matcher`, also a dotted one of yours |
# | `micrographs` | how many are turned to see what RootSIFT is off by |

# %% tags=["parameters"]
level = "medium"
number = 2
matchers = "phase_correlation,rootsift,orb"
micrographs = 6

# %%
import numpy as np
from IPython.display import Markdown, display

from literate.parameters import check_parameters
from microloftr.errors import ParameterError

check_parameters("11_baselines", globals())
if not 0 <= number < 12 or not 2 <= micrographs <= 27:
    raise ParameterError("number must be 0 to 11 and micrographs 2 to 27.")

# %% [markdown]
# ## One protocol
#
# A matcher is anything with `match(image_0, image_1)` that returns `Matches`. Everything behind that is shared: the
# same pairs, images as they are read, at most so many matches, one robust estimator, one error. Three of them on one
# pair, live:

# %%
from microloftr.data.fixed import fixed_pairs
from microloftr.evaluation.matchers import get_matcher
from microloftr.evaluation.metrics import corner_error
from microloftr.images import Image
from microloftr.registration.families import find_homography
from microloftr.registration.transform import Transform

made = fixed_pairs(level, limit=number + 1)
truth = made.homography[number]
images = [Image(crops[number].astype(np.float32) / 255, None, "") for crops in (made.images_0, made.images_1)]


def judged(matcher, image_0, image_1, truth):
    """Number of matches, mean corner error in px (∞ without a transform), and the transform to draw."""
    found = matcher.match(image_0, image_1)
    matrix, _ = find_homography(found.points_0, found.points_1, 2.0)
    error = corner_error(matrix, truth, found.size_0)
    drawable = Transform(matrix, "homography", found.size_0, found.size_1) if error < 50 else None
    return len(found), error, drawable


answers = {}
for name in filter(None, matchers.split(",")):
    count, error, transform = judged(get_matcher(name), *images, truth)
    answers[name] = transform, f"{count} matches, {error:.1f} px off" if np.isfinite(error) else "nothing"
    print(f"{name:18} {answers[name][1]}")
assert answers, "name one matcher or more"

# %%
from microloftr.views.baseline_figures import draw_answers
from microloftr.views.figures import show

show(draw_answers(*images, answers))

# %% [markdown]
# Magenta is image_0, green image_1, grey where both agree; without a transform, or with one that is far off, image_0
# stands alone. Phase correlation knows shifts alone; the two others need corners or blobs that are found again.
#
# ## All of them
#
# `python -m microloftr baselines` matched a few validation pairs of every level, each of another micrograph, with all
# matchers of the house:

# %%
from microloftr.results import read_result
from microloftr.views.baseline_figures import draw_baselines

record = read_result("baselines")
levels = record["values"]["levels"]
show(draw_baselines(record["values"]), "png")
for name, reason in record["values"]["left_out"].items():
    print(f"left out: {name}. {reason}")
assert all(0 <= one["auc_3"] <= 1 for part in levels.values() for one in part.values())

# %% [markdown]
# ## Where does each break?
#
# A level changes everything at once. `python -m microloftr breaking` begins with two crops side by side, upright and
# alike, and changes one thing, step by step, until nobody finds the transform any more:

# %%
from microloftr.views.baseline_figures import draw_breaking

breaking = read_result("breaking")["values"]
show(draw_breaking(breaking), "png")
for key, told in breaking["matchers"].items():
    steps = {factor: part["breaks"][key] for factor, part in breaking["factors"].items()}
    print(
        f"{told['name']:18}", ", ".join(f"{name} {'never' if at is None else f'{at:g}'}" for name, at in steps.items())
    )
for part in breaking["factors"].values():
    assert all(len(shares) == len(part["steps"]) for shares in part["right"].values())

# %% [markdown]
# Printed: the first step at which fewer than half of the pairs are right. At the first step of each factor nothing is
# hard: who is not right there has no chance elsewhere.
#
# ## What is a fair RootSIFT?
#
# OpenCV's SIFT doubles the image to find small blobs, and by default puts their places back a quarter of a pixel off.
# In a pair that is only shifted both are off alike, and nobody sees it; a turn shows it. And its contrast threshold
# is made for photographs: of flat micrographs little is left. Turning an array by 90° or 180° moves every pixel centre
# exactly, so that what is left is the detector's own error:

# %%
from microloftr.evaluation.baselines import RootSIFT
from microloftr.evaluation.fair import fields, records_with, turned

variants = {
    "default": RootSIFT(contrast_threshold=0.04, edge_threshold=10, precise_upscale=False),
    "precise": RootSIFT(contrast_threshold=0.04, edge_threshold=10),
    "fair": RootSIFT(),
}
half, quarter, flat = ({name: [] for name in variants} for _ in range(3))
for pixels in fields(micrographs, 256).values():
    for name, variant in variants.items():
        half[name].append(turned(variant, pixels, 2))
        quarter[name].append(turned(variant, pixels, 1))
        flat[name].append(turned(variant, pixels, 2, contrast=0.1))
bias = {name: np.stack([one.bias for one in found if len(one) >= 20]) for name, found in half.items()}
kept = {name: np.array([len(one) for one in found]) for name, found in flat.items()}
all_turns = {name: half[name] + quarter[name] for name in variants}
common = [k for k, found in enumerate(zip(*all_turns.values(), strict=True)) if min(map(len, found)) >= 20]
off = {}
for name, every in all_turns.items():
    off[name] = np.array([np.hypot(*every[k].bias) for k in common])
    median = np.median(np.concatenate([np.hypot(*one.errors.T) for one in every]))
    print(f"{name:8} {np.mean(off[name]):.3f} px off on average where all find 20, median error {median:.2f} px; "
          f"{int(np.median(kept[name]))} right matches where a tenth of the contrast is left")  # fmt: skip
assert 3 * np.mean(off["fair"]) < np.mean(off["default"])
assert (kept["fair"] >= kept["precise"]).all()

# %% tags=["figure:baselines_fair"]
from microloftr.views.baseline_figures import draw_fairness

show(draw_fairness(bias, kept), "png")

# %% [markdown]
# Everything but the first point is in OpenCV's options. The rest of what makes it fair: Hellinger distances, matches
# that are mutual *and* clear, and the same robust estimator as everybody.
#
# ## kornia's matchers
#
# Three ways that kornia offers without a download: local features (`SIFTFeature`, and a `ScaleSpaceDetector` of the
# Hessian with RootSIFT patches) matched by `match_smnn`, and `ImageRegistrator`, which has no features at all. Here
# with downloads forbidden, on a corner of a micrograph and the same corner 5 px further right, 3 px further down:

# %%
from unittest.mock import patch

from microloftr.evaluation.tables_baselines import shared

forbidden = AssertionError("a download was tried")
corner = images[0].pixels
shift = np.array([[1.0, 0, -5], [0, 1, -3], [0, 0, 1]])
KORNIA = ("kornia_sift", "kornia_hessian", "kornia_registrator")
with patch("torch.hub.load_state_dict_from_url", side_effect=forbidden):
    for name in KORNIA:
        count, error, _ = judged(get_matcher(name), corner[:144, :144], corner[3:147, 5:149], shift)
        print(f"{name:18} {count} matches, {error:.2f} px off" if np.isfinite(error) else f"{name:18} nothing")

# %% [markdown]
# All matchers on the same few micrographs, kornia's three among them (from the record of `baselines`):

# %%
display(Markdown(shared(record)))
part = record["values"]["shared"]
assert len(part["micrographs"]) >= 6 and len(part["modalities"]) >= 4
assert all(set(KORNIA) <= set(of_level) for of_level in part["levels"].values())

# %% [markdown]
# ## Yours, in ten lines
#
# Any class with `match` will do, and needs to know nothing of this package but `Matches`. Its dotted name is enough
# for `predict`, `evaluate`, `baselines` and `breaking`, and here:

# %%
from microloftr import Matches


class MyMatcher:
    """Every grey value's centre of gravity, laid upon the other's: a shift, and a poor one."""

    def match(self, image_0, image_1):
        grey = [np.abs(image - np.median(image)) for image in (image_0, image_1)]
        centres = [np.array([(g.sum(k) * np.arange(g.shape[1 - k])).sum() / g.sum() for k in (0, 1)]) for g in grey]
        points = np.random.default_rng(0).uniform(0, min(grey[0].shape), (50, 2))
        sizes = [g.shape[::-1] for g in grey]
        return Matches(points, points + centres[1] - centres[0], np.full(50, 0.5), *sizes)


mine = get_matcher(f"{__name__}.MyMatcher")
count, error, _ = judged(mine, *(image.pixels for image in images), truth)
print(f"{__name__}.MyMatcher: {count} matches, {error:.0f} px off")
assert isinstance(mine, MyMatcher) and count == 50

# %% [markdown]
# ## The answers

# %%
from literate.questions import answer
from microloftr.evaluation.metrics import bootstrap_interval


def by_level(key):
    """AUC@3 px at easy / medium / hard / extreme on the shared pairs."""
    return " / ".join(f"{of_level[key]['auc_3']:.2f}" for of_level in part["levels"].values())


mean = {key: float(np.mean([of_level[key]["auc_3"] for of_level in part["levels"].values()])) for key in levels["easy"]}
best = max(KORNIA, key=mean.get)
answer(
    "Q31",
    "kornia's matchers that need no download were run on {micrographs} micrographs of {modalities} modalities, one "
    "pair of each at every level. AUC@3 px at easy / medium / hard / extreme: SIFTFeature with match_smnn {sift}, "
    "ScaleSpaceDetector with RootSIFT patches {hessian}, ImageRegistrator {registrator}; on the same pairs RootSIFT by "
    "OpenCV has {rootsift} and micro {micro}. The best of kornia's, {best}, reaches {value:.2f} on average, RootSIFT "
    "{rootsift_mean:.2f}, micro {micro_mean:.2f}.",
    value=round(mean[best], 4),
    unit="AUC@3 px",
    n=len(part["micrographs"]) * len(part["levels"]),
    more={
        "micrographs": len(part["micrographs"]),
        "modalities": len(part["modalities"]),
        "best": best,
        "sift": by_level("kornia_sift"),
        "hessian": by_level("kornia_hessian"),
        "registrator": by_level("kornia_registrator"),
        "rootsift": by_level("rootsift"),
        "micro": by_level("micro"),
        "rootsift_mean": round(mean["rootsift"], 4),
        "micro_mean": round(mean["micro"], 4),
        "registrator_mean": round(mean["kornia_registrator"], 4),
    },
)

# %%
with_it = records_with("rootsift")
scores = read_result("evaluate")["values"]["levels"]
(low,), (high,) = bootstrap_interval(lambda drawn: np.mean(off["fair"][drawn]), np.arange(len(off["fair"])), 200)
answer(
    "Q32",
    "A fair RootSIFT stands in {told} of {tables} records that compare matchers: under turns of 90° and 180° its "
    "matches are {value:.3f} px off on average ({low:.3f} to {high:.3f}), with OpenCV's defaults {default:.2f} px (of "
    "{n} turned micrographs where both find 20), and with a tenth of the contrast it keeps 20 right matches or more on "
    "{kept} of {kept_of} micrographs, the defaults on {kept_default}. Its AUC@3 px at easy / medium / hard / extreme "
    "is {auc}, micro's {micro}.",
    value=round(float(np.mean(off["fair"])), 4),
    unit="px",
    interval=(round(float(low), 4), round(float(high), 4)),
    n=len(off["fair"]),
    more={
        "told": sum(with_it.values()),
        "tables": len(with_it),
        "default": round(float(np.mean(off["default"])), 4),
        "precise": round(float(np.mean(off["precise"])), 4),
        "kept": int((kept["fair"] >= 20).sum()),
        "kept_default": int((kept["default"] >= 20).sum()),
        "kept_of": len(kept["fair"]),
        "auc": " / ".join(f"{of_level['rootsift']['auc_3']:.2f}" for of_level in scores.values()),
        "micro": " / ".join(f"{of_level['micro']['auc_3']:.2f}" for of_level in scores.values()),
    },
)
assert all(with_it.values()), f"no RootSIFT in {[name for name, there in with_it.items() if not there]}"

# %% [markdown]
# **Is a network needed at all?** Where two images of one specimen look alike and differ by a shift, phase correlation
# is enough; where they also turn and keep their contrast, a fair RootSIFT is. What is left is printed here: how often
# each of them fails at each level, and which single change breaks only one of them.

# %%
for name, of_level in scores.items():
    told = {key: f"AUC@3 {of_level[key]['auc_3']:.2f}, failures {of_level[key]['failures']:.0%}" for key in
            ("rootsift", "micro")}  # fmt: skip
    print(f"{name:8} rootsift {told['rootsift']}; micro {told['micro']}")
breaks = {name: part["breaks"] for name, part in breaking["factors"].items()}
only = [name for name, steps in breaks.items() if steps["rootsift"] is not None and steps["micro"] is None]
print(f"breaks RootSIFT and not micro: {', '.join(only) or 'no single change'}")
needed = [name for name, one in scores.items() if one["micro"]["auc_3_low"] > one["rootsift"]["auc_3_high"]]
print(f"levels where micro's interval lies above RootSIFT's: {', '.join(needed) or 'none'}")
