# %% [markdown]
# # Does refinement help, or does it make matches worse?
#
# The coarse stage is right to the cell, ±4 px. Refinement should make that better, and people who train a LoFTR of
# their own report that it makes it worse. Here a LoFTR of `micro`'s size is trained the naive way, but for its
# backbone, which starts from XFeat's weights and not from nothing. Then everything but its fine stage is frozen, and
# the causes of harm are mended one by one in the fine stage alone. The same from random weights stands behind it. What
# helps, what does nothing, and where does refinement hurt to this day?
#
# | parameter | meaning |
# |---|---|
# | `pairs` | live pairs of each kind, of the validation micrographs |
# | `degrees`, `scale` | rotation and enlargement at which the frame's mistake is worked out |

# %% tags=["parameters"]
pairs = 4
degrees = 20.0
scale = 1.2

# %%
import numpy as np

from literate.parameters import check_parameters
from microloftr.errors import ParameterError

check_parameters("10_does_refinement_help", globals())
if not 3 <= pairs <= 54 or not 0.5 <= scale <= 2:
    raise ParameterError("pairs must be 3 to 54 and scale from 0.5 to 2.")

# %% [markdown]
# ## Two kinds of pairs
#
# Rounding to cells is noise, and noise averages out when a transform is fitted to hundreds of matches, **if** it points
# every way. Turn or enlarge image_1 and it does. Shift it only, and every cell is wrong by the very same amount:
# nothing averages out, and a transform from cells alone is up to 4 px off on each axis. So whoever tests refinement on
# turned pairs alone asks where it has least to win, and where a constant bias, however small, has most to lose.
#
# `micro`'s network alone, no search and no pixels, on easy pairs that are only shifted, and on others that are turned
# by up to 35° and enlarged by up to 1.25:

# %%
from microloftr.data.fixed import split_atlas
from microloftr.evaluation.averaged import averaged, middle_case, misplaced
from microloftr.model.weights import load_model, shipped

micro, held_out = load_model(shipped("micro")), split_atlas("validation")
live = {mixture: averaged(micro, held_out, mixture, pairs) for mixture in ("shifted", "turned")}
spread = {}
for mixture, cases in live.items():
    corner = {name: np.median([case.corner[name] for case in cases]) for name in ("coarse", "fine")}
    near = [case.residuals["coarse"][np.abs(case.residuals["coarse"]).max(1) < 4.5] for case in cases]
    spread[mixture] = float(np.median([residuals.std(0).max() for residuals in near]))
    print(
        f"{mixture:8} cells scatter by {spread[mixture]:.2f} px around their mean; transform off by "
        f"{corner['coarse']:.2f} px from cells, {corner['fine']:.2f} px refined"
    )
assert spread["shifted"] < 1 < 8 / 12**0.5 * 0.8 < spread["turned"]

# %% tags=["figure:refinement_averaged"]
from microloftr.views.figures import show
from microloftr.views.waterfall_figures import draw_averaged

show(draw_averaged([middle_case(cases) for cases in live.values()]), "png")

# %% [markdown]
# ## The naive way, and its mends
#
# The published recipe as one writes it down for pairs related by homographies: sines for positions, linear attention,
# a dual softmax at a fixed temperature with its clamp, the mean place of a 5 × 5 window, what was found refined in
# training and filled up with true cells, the squared distance in half windows weighed by the spread of the heat. And
# the three slips that everybody makes once: a homography that counts from the corners of pixels, a pyramid enlarged
# with `align_corners=True`, and every cell's nearest one taken for true, also where many share it.
#
# Each mend comes on top of those before it:

# %%
from microloftr.evaluation.naive import MENDS, NAIVE, recipes

ours = {
    "frame": "pixel centres everywhere; one function for cells and points (`geometry.py`)",
    "pyramid": "`upsample` reads position i/2 exactly (`model/pyramid.py`)",
    "border": "places outside have probability 0 (`model/windows.py`)",
    "one_to_one": "a cell matches if the way back returns to it (`training/supervision.py`)",
    "cells": "true cells, some moved by one (`training/losses.py`)",
    "unit": "pixels, averaged over each pair and then over pairs (`training/losses.py`)",
    "pick": "best place, 3 × 3 around it, cross-entropy for the heat (`model/refinement.py`)",
    "window": "9 × 9 reaches half of every neighbour (`model/presets.py`)",
}
assert list(ours) == list(MENDS)
for key, words in MENDS.items():
    print(f"+ {words:42} ours: {ours[key]}")
changed = [sum(vars(recipe).values()) for recipe in recipes().values()]
assert changed == list(range(len(MENDS) + 1))
print(f"naive: window {NAIVE.window}, {NAIVE.refinement}, {NAIVE.attention} attention, {NAIVE.transformer} positions")

# %% [markdown]
# ## What the frame costs
#
# A homography taken from the corners of pixels while features sit on their centres is half a pixel off, twice, and for
# a shift the two cancel. For a slope A what remains is (A − 1)·(½, ½):

# %%
for angle, size in ((0.0, 1.0), (degrees, 1.0), (0.0, scale), (degrees, scale), (180.0, 1.0)):
    print(f"{angle:5.0f}°, × {size:.2f}: {misplaced(angle, size, 0.5):.2f} px")
assert misplaced(0, 1, 0.5) == 0 and np.isclose(misplaced(180, 1, 0.5), 2**0.5)

# %% [markdown]
# ## The waterfall
#
# From the record of `python -m microloftr waterfall`. All rows from *coarse only* to the last mend share the coarse
# part and its matches, frozen after the naive training: a mend that would also make better cells, as of the truth or
# the frame, is seen here in the fine stage alone. The fine stage of every recipe was trained on from where the naive
# training had left it, on the same pairs and for as many steps, the naive recipe too. Hollow dots are another seed.

# %% tags=["figure:waterfall"]
from microloftr.results import read_result
from microloftr.views.waterfall_figures import draw_waterfall

record = read_result("waterfall")["values"]
show(draw_waterfall(record), "png")

# %%
for probe, rows in record["probes"].items():
    print(f"{probe}: {rows['coarse']['near']} matches of {record['pairs']} pairs")
    for row in rows.values():
        gain = row.get("gain")
        told = ""
        if gain is not None:
            words = (
                f"{name} {gain[name]['difference']:+.2f} ({gain[name]['verdict']})" for name in ("median", "auc_3")
            )
            told = "   against cells: " + ", ".join(words)
        print(f"  {row['words']:44} {row['median']:.2f} px   AUC@3 {row['auc_3']:.2f}{told}")
        for other in row["again"]:
            print(f"  {'   with another seed':44} {other['median']:.2f} px   AUC@3 {other['auc_3']:.2f}")
    mends = [rows[key] for key in ("coarse", "whole", "naive", *MENDS)]
    assert len({row["matches"] for row in mends}) == 1
shifted, turned = record["probes"]["shifted"], record["probes"]["turned"]
assert turned["window"]["median"] < turned["naive"]["median"]

# %% [markdown]
# All mends together, from the naive fine stage to the last: pair by pair, where the record keeps that; a record that
# keeps medians and AUCs alone has no interval to give.

# %%
from microloftr.views.waterfall_figures import total_of

PARTS = {"median": "px", "auc_3": "AUC@3 px"}
totals = {}
for probe, rows in record["probes"].items():
    told = total_of(rows)
    totals[probe] = {name: f"{one['difference']:+.2f} {PARTS[name]}" for name, one in told.items()}
    for name, one in told.items():
        if one["low"] is not None:
            totals[probe][name] += f" ({one['low']:+.2f} to {one['high']:+.2f})"
        again = ", ".join(f"{value:+.2f}" for value in one["again"])
        print(f"{probe}: {totals[probe][name]}, with another seed {again}")
    assert told["median"]["difference"] < 0 < told["auc_3"]["difference"]

# %% [markdown]
# ## From random weights
#
# So far the backbone began at XFeat's weights. The same naive LoFTR with the default initialisation throughout, trained
# for fewer pairs (`python -m microloftr waterfall --init none`). Every mutual cell counts as a match, for hardly any is
# sure, and few are near the truth; of those the table tells.

# %%
from IPython.display import Markdown, display

from microloftr.evaluation.tables_waterfall import begun_table

begun = read_result("waterfall_none")
display(Markdown(begun_table(begun)))
begun_cells = {probe: rows["coarse"] for probe, rows in begun["values"]["probes"].items()}
near = {probe: row["near"] / row["matches"] for probe, row in begun_cells.items()}
print(", ".join(f"{probe}: {share:.0%} of the cells are the true one or beside it" for probe, share in near.items()))
assert begun["values"]["naive"]["init"] == "none" and max(near.values()) < 1

# %% [markdown]
# ## Where refinement hurts to this day
#
# `micro`'s network alone on the four levels. A match is made worse if it ends more than 0.1 px farther from the truth
# than its cell was. Where the truth happens to lie on the cell's centre there is nothing to win and only noise to add;
# and the noisier the image, the more is added.

# %% tags=["figure:refinement_harm"]
from microloftr.views.waterfall_figures import draw_harm

harm = record["harm"]
for row in harm["by_distance"]:
    print(
        f"truth {row['from']:g} to {row['to']:g} px away: {row['coarse']:.2f} → {row['fine']:.2f} px, "
        f"{row['worse']:.0%} made worse"
    )
for level, row in harm["levels"].items():
    print(f"{level}: {row['coarse']:.2f} → {row['fine']:.2f} px, {row['worse']:.0%} made worse")
assert all(row["fine"] < row["coarse"] for row in harm["levels"].values())
show(draw_harm(harm), "png")

# %% [markdown]
# What the plainly harmed ones look like: of four fixed *medium* pairs, the matches that refinement moved farthest from
# the truth. All have their truth in the window, near the cell.

# %% tags=["figure:refinement_worst"]
from microloftr.data.fixed import fixed_pairs
from microloftr.evaluation.waterfall_harm import harmed
from microloftr.images import Image
from microloftr.views.case import trace_case
from microloftr.views.harm_figures import draw_harmed

made, cases = fixed_pairs("medium", limit=4), []
for number, homography in enumerate(made.homography):
    crops = (Image(crops[number].astype(np.float32) / 255, None, "") for crops in (made.images_0, made.images_1))
    cases.append(trace_case(micro, *crops, homography, micro.config.threshold))
every_match, shares = harmed(cases, sum(len(case.trace.matches.confidence) for case in cases))
worst, lost = every_match[:4], [one for one in every_match if one.moved > 1]
assert all(one.moved > 1 for one in worst)  # px, and farther from the truth than the cell
print(", ".join(f"{one.moved:+.1f} px" for one in worst), "farther from the truth than the cell")
print(f"more than 1 px farther: {len(lost)} of {len(shares)} matches; the best place of their heat holds "
      f"{np.median([one.best for one in lost]):.2f} of it (of all: {np.median(shares):.2f}), the true place "
      f"{np.median([one.true for one in lost]):.2f}")  # fmt: skip
assert np.median([one.best for one in lost]) < np.median(shares) / 2
names = [f"medium, pair {number}" for number in range(len(cases))]
show(draw_harmed(cases, [(one.case, one.index) for one in worst], names), "png")

# %% [markdown]
# Where the pixels do not say which place is the right one, the heat has no peak but a ridge along an edge, or two peaks
# on two fibres alike. Refinement takes the best place all the same. Which of many nearly equal ones that is, noise
# decides, and the point may jump to the other end of the window; the cell's centre, which promises nothing, was nearer.
# Confidence does tell: it is low at nearly all of them, and a transform by MAGSAC leaves them out.

# %% [markdown]
# ## The same weights and pairs, coarse against fine
#
# From the record of `python -m microloftr stages` (notebook 09): `micro`'s network alone, cells as they are and
# refined, by level and by modality. A difference whose interval holds 0 is a tie.

# %%
stages = read_result("stages")["values"]
parts = {**stages["levels"], **stages["modalities"], "all": stages["all"]}
said = {}
for name, part in parts.items():
    change = part["difference"]
    said[name] = change["auc_3_verdict"]
    medians = " → ".join(f"{part[stage]['median_offset']:.2f}" for stage in ("coarse", "fine"))
    aucs = " → ".join(f"{part[stage]['auc_3']:.2f}" for stage in ("coarse", "fine"))
    print(
        f"{name.replace('_', ' '):32} {part['n']:3} pairs: {medians} px, AUC@3 {aucs} ({said[name] or 'one specimen'})"
    )
assert all(part["fine"]["median_offset"] < part["coarse"]["median_offset"] for part in stages["levels"].values())

# %% [markdown]
# ## The answer

# %%
from literate.questions import answer

most = min(MENDS, key=lambda key: turned[key]["change"]["median"]["difference"])
hold = [key for key in MENDS if turned[key]["holds"]["median"] == shifted[key]["holds"]["median"] == "better"]
assert most in hold
last, nearest = turned["window"], harm["by_distance"][0]
from_random = begun["values"]["probes"]["turned"]
half = {probe: [row["half"]["median"], *(other["median"] for other in row["half"]["again"])]
        for probe, row in record["probes"].items()}  # fmt: skip
answer(
    "Q01",
    "It may while its fine stage is half trained: in a LoFTR trained the naive way from XFeat's backbone, cells alone "
    "are {coarse:.2f} px off on turned pairs in the median, and a fine stage stopped early {half_best:.2f} or "
    "{half_worst:.2f} px, by its seed. Trained, even naively, it helps ({naive:.2f} px; AUC@3 px {naive_auc:.2f}, of "
    "the cells {coarse_auc:.2f}), and better once its causes of harm are mended, in the fine stage, with the coarse "
    "part frozen ({value:.2f} px; {last_auc:.2f}). All mends together: {total} on turned pairs, {total_shifted} on "
    "shifted ones. Of eight {holding} help the median with every seed on both ({which}); most is due to one: {most} "
    "({gain:+.2f} px turned, {gain_shifted:+.2f} px shifted). Begun at random weights instead, on turned pairs: cells "
    "{random_coarse:.2f} px, the naive fine stage {random_naive:.2f} px, all mended {random_last:.2f} px, of the "
    "{random_near:.0%} of cells that are near the truth.",
    value=last["median"],
    unit="px",
    interval=(last["median_low"], last["median_high"]),
    n=record["pairs"],
    more={
        "coarse": turned["coarse"]["median"],
        "half_best": min(half["turned"]),
        "half_worst": max(half["turned"]),
        "half_worst_shifted": max(half["shifted"]),
        "naive": turned["naive"]["median"],
        "coarse_auc": turned["coarse"]["auc_3"],
        "naive_auc": turned["naive"]["auc_3"],
        "last_auc": last["auc_3"],
        "total": " and ".join(totals["turned"].values()),
        "total_shifted": " and ".join(totals["shifted"].values()),
        "coarse_shifted": shifted["coarse"]["median"],
        "naive_shifted": shifted["naive"]["median"],
        "last_shifted": shifted["window"]["median"],
        "holding": len(hold),
        "which": "; ".join(MENDS[key] for key in hold),
        "most": MENDS[most],
        "gain": turned[most]["change"]["median"]["difference"],
        "gain_shifted": shifted[most]["change"]["median"]["difference"],
        "random_coarse": from_random["coarse"]["median"],
        "random_naive": from_random["naive"]["median"],
        "random_last": from_random["window"]["median"],
        "random_near": near["turned"],
        "random_pairs": begun["values"]["naive"]["pairs"],
        "nearest_worse": nearest["worse"],
        "lost": len(lost),
        "lost_of": len(shares),
        "spread": {mixture: round(value, 2) for mixture, value in spread.items()},
        "frame_turned": round(misplaced(35, 1.25, 0.5), 3),
    },
)

# %%
every = stages["all"]
change = every["difference"]
answer(
    "Q13",
    "Yes. With the same weights and pairs the fine step takes the median offset of micro's matches from {coarse:.2f} "
    "to {fine:.2f} px and AUC@3 px of the transforms from {auc_coarse:.2f} to {auc_fine:.2f} ({value:+.2f}, network "
    "alone, four levels); it is better at {better_levels} of {levels} levels, and at {better} of the {modalities} "
    "modalities of several specimens, worse at {worse} of these; {many} of them have five or more. {single} more are "
    "of a single specimen.",
    value=change["auc_3"],
    unit="AUC@3 px",
    interval=(change["auc_3_low"], change["auc_3_high"]),
    n=every["n"],
    more={
        "coarse": every["coarse"]["median_offset"],
        "fine": every["fine"]["median_offset"],
        "auc_coarse": every["coarse"]["auc_3"],
        "auc_fine": every["fine"]["auc_3"],
        "better_levels": sum(said[name] == "better" for name in stages["levels"]),
        "levels": len(stages["levels"]),
        "better": sum(said[name] == "better" for name in stages["modalities"]),
        "worse": sum(said[name] == "worse" for name in stages["modalities"]),
        "modalities": sum(said[name] is not None for name in stages["modalities"]),
        "many": sum(row["sources"] >= 5 for row in stages["modalities"].values()),
        "single": sum(said[name] is None for name in stages["modalities"]),
    },
)
