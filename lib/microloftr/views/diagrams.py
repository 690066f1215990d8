"""Diagrams of the line, each drawn from the shapes of one trace (`case.shapes_of`): letters and real numbers."""

from matplotlib.figure import Figure

from microloftr.model.presets import COARSE_STRIDE, FINE_STRIDE, ModelConfig
from microloftr.views.boxes import Arrow, Box, draw_boxes, show_shape, tensor

Shapes = dict[str, list[int]]


def draw_line(shapes: Shapes, config: ModelConfig) -> Figure:
    """The whole line, from two images to matched points."""
    boxes = [
        tensor("image_0", 1.35, 6.75, "B, 1, H, W", shapes["image_0"]),
        tensor("image_1", 3.85, 6.75, "B, 1, H, W", shapes["image_1"]),
        Box("backbone", 2.6, 5.45, "backbone", ("the same for both images",), "step"),
        tensor("eighth", 2.6, 4.2, "B, C, h, w", shapes["eighth_0"], title="1/8 of each"),
        tensor("quarter", 5.75, 5.45, "B, 24, H/4, W/4", shapes["quarter_0"], title="1/4 of each"),
        tensor("half", 8.4, 5.45, "B, 24, H/2, W/2", shapes["half_0"], title="1/2 of each"),
        Box("transformer", 2.6, 3.0, "transformer", (f"{config.layers} × self, cross",), "step"),
        tensor("coarse", 2.6, 1.85, "B, C, h, w", shapes["coarse_0"], title="coarse_0, coarse_1"),
        Box("matching", 2.6, 0.62, "coarse matching", ("dual softmax, mutual nearest",), "step"),
        tensor("cells", 5.75, 0.62, "M,", shapes["cells_0"], title="cells_0, cells_1", wide=1.9),
        tensor("fine", 7.1, 3.6, "B, F, H/2, W/2", shapes["fine_0"], title="fine_0, fine_1"),
        Box("refinement", 8.4, 2.2, "refinement", ("a window around each cell",), "step"),
        tensor("points", 8.4, 0.62, "M, 2", shapes["points_1"], "result", title="points_0, points_1"),
    ]
    arrows = [
        Arrow("image_0", "backbone"), Arrow("image_1", "backbone"), Arrow("backbone", "eighth"),
        Arrow("backbone", "quarter"), Arrow("backbone", "half", bend=-0.22), Arrow("eighth", "transformer"),
        Arrow("transformer", "coarse"), Arrow("coarse", "matching"), Arrow("matching", "cells"),
        Arrow("coarse", "fine", bend=0.0), Arrow("quarter", "fine"), Arrow("half", "fine"),
        Arrow("fine", "refinement"), Arrow("cells", "refinement"), Arrow("refinement", "points"),
    ]  # fmt: skip
    return draw_boxes(boxes, arrows, 7.4)


def draw_transformer(shapes: Shapes, config: ModelConfig) -> Figure:
    """One self- and one cross-attention; both directions of the cross read what was before it."""
    cells = shapes["eighth_0"][-2] * shapes["eighth_0"][-1], shapes["eighth_1"][-2] * shapes["eighth_1"][-1]
    channels = shapes["eighth_0"][1]
    boxes = []
    for k, y in ((0, 3.55), (1, 1.0)):
        flat = [shapes[f"eighth_{k}"][0], cells[k], channels]
        boxes += [
            tensor(f"in_{k}", 1.35, y, f"B, L{k}, C", flat, title=f"1/8 of image_{k}"),
            Box(f"self_{k}", 3.75, y, "self", ("rotary position",), "step", wide=1.75),
            Box(f"cross_{k}", 6.15, y, "cross", ("no position",), "step", wide=1.75),
            tensor(f"out_{k}", 8.65, y, "B, C, h, w", shapes[f"coarse_{k}"], "result", title=f"coarse_{k}"),
        ]
    steps = (("in", "self"), ("self", "cross"), ("cross", "out"))
    arrows = [Arrow(f"{a}_{k}", f"{b}_{k}") for k in (0, 1) for a, b in steps]
    arrows += [Arrow("self_0", "cross_1"), Arrow("self_1", "cross_0")]
    notes = [
        (4.95, 4.55, f"{config.layers} times: the same weights for both images, {config.heads} heads"),
        (8.15, 2.28, "both crosses read\nthe cells before them"),
        (1.75, 2.28, "cells of one image:\nonly their distance counts"),
    ]
    return draw_boxes(boxes, arrows, 4.85, notes)


def draw_coarse_matching(shapes: Shapes) -> Figure:
    """From two grids of cells to M matched cells."""
    able = (
        "does the other image show it?", "(B, L0), (B, L1)",
        f"{show_shape(shapes['matchability_0'])}, {show_shape(shapes['matchability_1'])}",
    )  # fmt: skip
    boxes = [
        tensor("coarse_0", 1.45, 4.5, "B, C, h, w", shapes["coarse_0"]),
        tensor("coarse_1", 1.45, 2.75, "B, C, h, w", shapes["coarse_1"]),
        Box("cosine", 4.8, 4.5, "cosine × scale", ("every cell with every cell",), "step", wide=2.9),
        Box("able", 4.8, 2.75, "matchability", able, "step", wide=3.0),
        Box("softmax", 8.3, 4.5, "dual softmax", ("log, rows + columns",), "step", wide=2.5),
        tensor("log", 8.3, 2.75, "B, L0, L1", shapes["log_confidence"], title="log confidence"),
        Box("select", 8.3, 0.8, "select", ("mutual nearest,", "above the threshold"), "step", wide=2.5),
        tensor("cells", 4.8, 0.8, "M,", shapes["cells_0"], "result", title="cells_0, cells_1", wide=2.1),
    ]
    arrows = [
        Arrow("coarse_0", "cosine"), Arrow("coarse_1", "cosine"), Arrow("coarse_0", "able"), Arrow("coarse_1", "able"),
        Arrow("cosine", "softmax"), Arrow("able", "log", "+"), Arrow("softmax", "log"), Arrow("log", "select"),
        Arrow("select", "cells"),
    ]  # fmt: skip
    return draw_boxes(boxes, arrows, 5.25)


def draw_refinement(shapes: Shapes, config: ModelConfig) -> Figure:
    """From a matched cell to a sub-pixel point: window, heat, pick, 3×3, correction."""
    side, ratio = config.window, COARSE_STRIDE // FINE_STRIDE
    channels = shapes["fine_0"][1]
    number = shapes["log_heat"][0]
    boxes = [
        tensor("fine_0", 1.5, 4.5, "B, F, H/2, W/2", shapes["fine_0"]),
        tensor("fine_1", 1.5, 2.75, "B, F, H/2, W/2", shapes["fine_1"]),
        tensor("cells", 1.5, 1.0, "M,", shapes["cells_0"], title="cells_0, cells_1", wide=2.0),
        tensor("centre", 4.85, 4.5, "M, F", [number, channels], title="centre of cell 0"),
        tensor("window", 4.85, 2.75, "M, W², F", [number, side * side, channels], title="window around cell 1"),
        tensor("heat", 8.3, 3.65, "M, W²", shapes["log_heat"], title="log heat"),
        Box("pick", 8.3, 2.2, "pick", ("best place, its 3×3,", "a learned correction"), "step", wide=2.3),
        tensor("offset", 8.3, 0.7, "M, 2", shapes["offset"], "result", title="offset in px", wide=1.9),
    ]
    arrows = [
        Arrow("fine_0", "centre"),
        Arrow("fine_1", "window"),
        Arrow("cells", "window", bend=0.0),
        Arrow("centre", "heat"),
        Arrow("window", "heat"),
        Arrow("heat", "pick"),
        Arrow("pick", "offset"),
    ]
    reach = side // 2 * FINE_STRIDE
    text = f"W = {side} fine cells of {FINE_STRIDE} px: ±{reach} px around the cell,\n"
    notes = [(4.85, 1.0, text + f"{ratio} fine cells to a coarse one; nothing is padded")]
    return draw_boxes(boxes, arrows, 5.25, notes)


def draw_pairs(shapes: Shapes) -> Figure:
    """From a seed and a number to two crops of one micrograph and what relates them."""
    batch, crops = shapes["homography"][0], ("resampled, each by its own", "factor, from its own plane")
    boxes = [
        Box("key", 1.3, 4.5, "seed, i", ("Philox",), "step", wide=1.6),
        tensor("numbers", 4.2, 4.5, "B, 168", [batch, 168], title="uniform numbers"),
        Box("geometry", 7.85, 4.5, "warp, overlap, place", ("a region that cannot be empty",), "step", wide=3.2),
        tensor("micrograph", 1.3, 2.65, "H, W", shapes["micrograph"], title="micrograph", wide=1.9),
        Box("sample", 4.2, 2.65, "two crops", crops, "step", wide=2.7),
        tensor("homography", 7.85, 2.65, "B, 3, 3", shapes["homography"], "truth"),
        Box("looks", 4.2, 0.85, "appearance", ("defocus, light, tones,", "noise: each its own"), "step", wide=2.5),
        tensor("images", 7.85, 0.85, "B, 1, S, S", shapes["images_0"], "result", title="images_0, images_1"),
    ]
    arrows = [
        Arrow("key", "numbers"), Arrow("numbers", "geometry"), Arrow("geometry", "homography"),
        Arrow("geometry", "sample"), Arrow("micrograph", "sample"), Arrow("sample", "looks"), Arrow("looks", "images"),
    ]  # fmt: skip
    notes = [(1.3, 0.85, "the same pair whatever\nthe batch, the device,\nthe number of workers")]
    return draw_boxes(boxes, arrows, 5.25, notes)


def draw_supervision(shapes: Shapes) -> Figure:
    """From the true homography to the cells that match, and those that cannot."""
    boxes = [
        tensor("homography", 1.5, 4.5, "B, 3, 3", shapes["homography"], "truth"),
        tensor("centres", 1.5, 2.75, "B, L0, 2", shapes["points_1"], title="centres of cells_0"),
        tensor("points", 5.0, 4.5, "B, L0, 2", shapes["points_1"], title="in image_1"),
        Box("there", 5.0, 2.75, "nearest cell there", ("ties go up",), "step", wide=2.5),
        Box("back", 5.0, 0.95, "nearest cell back", ("ties go down;", "it must be the start"), "step", wide=2.5),
        tensor("cells", 8.45, 1.85, "B, L0", shapes["true_cells_1"], "truth", title="cells_1", wide=2.0),
        tensor("unmatchable", 8.45, 4.5, "B, L0", shapes["unmatchable_0"], "truth", title="unmatchable_0", wide=2.2),
    ]
    arrows = [
        Arrow("homography", "points"), Arrow("centres", "points"), Arrow("points", "there"), Arrow("there", "back"),
        Arrow("back", "cells"), Arrow("points", "unmatchable", "outside", shift=(-0.1, 0)),
    ]  # fmt: skip
    notes = [
        (1.5, 0.95, "the same from image_1\nback gives unmatchable_1"),
        (8.45, 0.75, "−1: no match; a cell whose\nmatch went to a neighbour\ncounts nowhere"),
    ]
    return draw_boxes(boxes, arrows, 5.25, notes)


def draw_matcher(calls: list[tuple[list[int], list[int]]], shapes: Shapes) -> Figure:
    """Propose, try, follow. calls: the shapes of both images at every call of the network while it matched the case."""
    thumbs = [" and ".join(dict.fromkeys(show_shape(call[k][-2:]) for call in calls)) or "none" for k in range(2)]
    times = "once" if len(calls) == 1 else f"{len(calls)} times"
    boxes = [
        tensor("images", 1.5, 4.5, "H, W", shapes["image_0"][-2:], title="image_0, image_1"),
        Box("small", 5.0, 4.5, "thumbnails", ("image_0", thumbs[0], "image_1, by quarter turns", thumbs[1]), wide=3.0),
        Box("network", 8.45, 4.5, "the network", (f"here {times}",), "step", wide=2.2),
        Box("vote", 8.45, 2.75, "proposal", ("one similarity that", "most matches share"), "step", wide=2.6),
        Box(
            "tried",
            5.0,
            2.75,
            "tried on the pixels",
            ("image_1 warped by it,", "a grid of patches followed"),
            "step",
            wide=3.0,
        ),
        Box("again", 1.5, 2.75, "followed again", ("at full size",), "step", wide=2.2),
        Box("matches", 1.5, 0.9, "Matches", ("points_0, points_1", "confidence"), "result", wide=2.2),
        Box("second", 5.0, 0.9, "second look", ("the network's own", "matches, half as sure"), "step", wide=2.6),
    ]
    arrows = [
        Arrow("images", "small"), Arrow("small", "network"), Arrow("network", "vote"), Arrow("vote", "tried"),
        Arrow("tried", "again"), Arrow("again", "matches"), Arrow("tried", "second"),
        Arrow("second", "matches"),
    ]  # fmt: skip
    notes = [
        (8.4, 0.9, "supported: to the left;\nif not, the next turn, then larger\nthumbnails, and at last downwards")
    ]
    return draw_boxes(boxes, arrows, 5.5, notes)
