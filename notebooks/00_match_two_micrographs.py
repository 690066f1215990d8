# %% [markdown]
# # Do these two micrographs show the same specimen, and how does one map to the other?
#
# Two images go in. Out come pairs of points that show the same spot of the specimen, and the transform that takes the
# points of image_0 to image_1, if there is one. "No match" is an answer too.
#
# Your own images: `make match IMAGE_0=a.tif IMAGE_1=b.tif`, or change the next cell and run all. Left empty, the two
# paths mean a bundled pair: two fields of view of one stained section, the second turned by 19°, enlarged by a tenth,
# out of focus, through a red filter, unevenly lit and noisier.
#
# | parameter | meaning |
# |---|---|
# | `image_0`, `image_1` | PNG, JPEG, TIFF or OME-TIFF; 8 or 16 bit or float, grey or colour |
# | `out` | the folder for the result; empty: nothing is written |
# | `matcher` | `micro`, a file of weights, or the dotted name of a matcher of your own |
# | `family` | `translation`, `rigid`, `similarity`, `affine`, `homography`; `auto`: the simplest that explains all |
# | `threshold` | pixels of image_1 by which a match may be off and still count |
# | `um_per_px_0`, `um_per_px_1` | pixel size in µm, where the file does not say or says it wrongly |
# | `channel_0`, `channel_1`, `page_0`, `page_1` | which channel and page of a file that has several, from 0 on |
# | `invert_0`, `invert_1` | swap black and white first |

# %% tags=["parameters"]
image_0 = ""
image_1 = ""
out = ""
matcher = "micro"
family = "auto"
threshold = 2.0
um_per_px_0: float | None = None
um_per_px_1: float | None = None
channel_0: int | None = None
channel_1: int | None = None
page_0: int | None = None
page_1: int | None = None
invert_0 = False
invert_1 = False

# %%
from literate.parameters import check_parameters
from microloftr.errors import ParameterError
from microloftr.registration.transform import check_request

check_parameters("00_match_two_micrographs", globals())
check_request(family, threshold)
if bool(image_0) != bool(image_1):
    raise ParameterError("Give image_0 and image_1, or neither of them for the bundled pair.")

# %% [markdown]
# ## The two images
#
# Each becomes grey, in 0..1. Points are (x, y) in pixels of the file as it is: the centre of the top-left pixel is
# (0, 0), x goes right, y down.

# %%
from importlib.resources import files

from microloftr import read_image
from microloftr.views.figures import draw_matches, draw_overlay, draw_pair, draw_residuals, show

demo = files("microloftr") / "micrographs" / "demo"
path_0, path_1 = image_0 or demo / "field_0.png", image_1 or demo / "field_1.png"
micrograph_0 = read_image(path_0, channel=channel_0, page=page_0, invert=invert_0, um_per_px=um_per_px_0)
micrograph_1 = read_image(path_1, channel=channel_1, page=page_1, invert=invert_1, um_per_px=um_per_px_1)
show(draw_pair(micrograph_0, micrograph_1))

# %% [markdown]
# ## The matches
#
# Every match has a confidence between 0 and 1. They are still raw: some are wrong.

# %%
from microloftr import Matcher

matches = Matcher.from_pretrained(matcher).match(micrograph_0, micrograph_1)
print(f"{len(matches)} matches")

# %% [markdown]
# ## The transform
#
# Right matches agree on one transform, wrong ones contradict each other. So many must agree that chance would hardly
# ever do it, and the transform must be one that a microscope can give: no mirror image, no folding, no scale beyond 8.
# `auto` tries from the simplest family to the richest and takes a richer one only where the matches ask for it: every
# freedom that is not needed lets noise in.

# %%
transform = matches.estimate(family, threshold)
show(draw_matches(micrograph_0, micrograph_1, matches, transform))

# %% [markdown]
# Laid over each other in the frame of image_0: where both agree the sum is grey, and lines run on through the squares.

# %% tags=["figure:overlay"]
from microloftr import overlay

picture = overlay(micrograph_0, micrograph_1, transform) if transform else None
if transform:
    squares = overlay(micrograph_0, micrograph_1, transform, mode="checkerboard")
    show(draw_overlay(picture, squares), "png")

# %% [markdown]
# How far the matches are from where the transform puts them. Arrows in all directions are noise; arrows that turn with
# the place would mean that the specimen is bent, and no single transform is right everywhere.

# %%
if transform:
    show(draw_residuals(micrograph_0, matches, transform))

# %% [markdown]
# ## The answer

# %%
import json

from microloftr.evaluation.metrics import corner_error
from microloftr.registration.export import describe, summarise, write_result

summary = {"image_0": micrograph_0.name, "image_1": micrograph_1.name, "matcher": matcher}
summary |= summarise(matches, transform, family, threshold)
if transform and not image_0:  # of the bundled pair the truth is known
    truth = json.loads((demo / "truth.json").read_text())["homography"]
    summary["error_px"] = corner_error(transform.matrix, truth, transform.size_0)
    assert summary["error_px"] < 2
if out:
    write_result(out, matches, transform, picture, summary)
print(describe(summary))
