"""`python -m microloftr breaking`: where does each matcher break? One thing changes at a time, step by step.

Pairs of two crops of one micrograph that lie side by side, upright, with the same contrast and light, each crop blurred
and renoised on its own so that they share no sensor noise. Of these one thing is changed: image_1 is turned, magnified,
shrunk, loses contrast (or is inverted), gains noise, or shows less of image_0. The same validation micrographs at
every step; results/breaking.json.
"""

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from microloftr.data.atlas import Atlas
from microloftr.data.drawn import KNOTS
from microloftr.data.fixed import split_atlas
from microloftr.data.pairs import render
from microloftr.data.parameters import PairParameters, draw_parameters, uniforms
from microloftr.data.warps import WarpRange, draw_geometry
from microloftr.errors import ParameterError
from microloftr.evaluation.matchers import get_matcher, matcher_key, public_name
from microloftr.evaluation.pair import Pair, spread
from microloftr.evaluation.predict import predict, predictions_folder
from microloftr.evaluation.predictions import load_predictions
from microloftr.evaluation.protocols import fingerprint
from microloftr.evaluation.score import ESTIMATOR, score_pairs
from microloftr.results import write_result

MATCHERS = ("micro", "rootsift", "orb", "phase_correlation", "ecc", "xfeat")
SIZE = 256  # px
SEED = 404
MICROGRAPHS = 8
RIGHT = 3.0  # px: mean corner error of a pair that counts as right
BASE = {"rotation": 0.0, "scale": 1.0, "contrast": 1.0, "noise": 0.0, "overlap": 0.7}
STEPS = {
    "rotation": (0.0, 15.0, 30.0, 60.0, 120.0, 180.0),
    "scale": (1.0, 1.25, 1.5, 2.0, 2.5),
    "shrunk": (1.0, 0.8, 0.67, 0.5, 0.4),
    "contrast": (1.0, 0.3, 0.1, 0.05, -1.0),
    "noise": (0.0, 0.05, 0.1, 0.2, 0.4),
    "overlap": (0.9, 0.6, 0.4, 0.25, 0.15),
}
SAME = {"shrunk": "scale"}  # factors that change what another one changes
WORDS = {  # what each step says
    "rotation": "rotation of image_1, degrees",
    "scale": "magnification of image_1, which shows less then",
    "shrunk": "magnification of image_1, which shows more then",
    "contrast": "contrast of image_1 (−1: inverted)",
    "noise": "added noise of image_1, σ of white",
    "overlap": "share of image_0 that image_1 shows",
}


@dataclass(frozen=True)
class Step:
    """One state of the pairs: what `factor` changes has `value`, all else is as in BASE."""

    factor: str
    value: float

    @property
    def state(self) -> dict[str, float]:
        return BASE | {SAME.get(self.factor, self.factor): self.value}

    @property
    def name(self) -> str:
        return f"{self.factor} {self.value:g}"


EVERY_STEP = tuple(Step(factor, value) for factor, values in STEPS.items() for value in values)


class BreakingPairs:
    """Pairs of all steps, `micrographs` of each, spread over the split; the truth is exact."""

    made, record, error, estimators, name = True, "breaking", "corners", ("magsac",), "breaking"

    def __init__(
        self, split: str = "validation", micrographs: int = MICROGRAPHS, steps: Sequence[Step] = EVERY_STEP
    ) -> None:
        if micrographs < 1:
            raise ParameterError(f"There must be 1 or more micrographs, not {micrographs}.")
        self.split, self.micrographs, self.steps = split, micrographs, tuple(steps)

    @cached_property
    def pairs(self) -> list[Pair]:
        """All pairs, step after step."""
        atlas = split_atlas(self.split)
        return [pair for step in self.steps for pair in step_pairs(atlas, step, spread(len(atlas), self.micrographs))]

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, number: int) -> Pair:
        return self.pairs[number]

    def __iter__(self) -> Iterator[Pair]:
        return iter(self.pairs)


def step_pairs(atlas: Atlas, step: Step, micrographs: Sequence[int], size: int = SIZE) -> list[Pair]:
    """One pair of each of these micrographs in the state of a step."""
    indices = np.asarray(micrographs, dtype=np.int64)
    drawn = state_parameters(atlas, step.state, indices, size)
    batch = render(atlas, drawn, SEED, indices, size)
    images = [(crops[:, 0] * 255).round().byte().numpy() for crops in (batch.images_0, batch.images_1)]
    return [
        Pair(
            f"{step.name}/{atlas.names[m]}",
            step.name,
            atlas.specimens[m],
            images[0][k],
            images[1][k],
            np.asarray(drawn.homography[k], np.float64),
            0.0,
            (size, size),
            (size, size),
            atlas.modalities[m],
            float(drawn.overlap[k]),
        )
        for k, m in enumerate(indices)
    ]


def state_parameters(atlas: Atlas, state: dict[str, float], indices: np.ndarray, size: int) -> PairParameters:
    """What pairs of the micrographs `indices` in one state are made from; the micrograph's own noise is made up for."""
    plain = draw_parameters(atlas, "easy", SEED, indices, size)
    u = uniforms(SEED, indices)[:, :28]
    u[:, 1] = 1.0  # the end of the range of rotations
    ranges = WarpRange(state["rotation"], (state["scale"],) * 2, (state["overlap"],) * 2, shear=0.0, perspective=0.0)
    geometry = draw_geometry(
        u, ranges, size, atlas.sizes[indices], (0.6, 0.95), lambda points: atlas.content_at(indices, points), tries=8
    )
    curve = np.tile(np.linspace(0, 1, KNOTS), (len(indices), 2, 1))
    curve[:, 1] = 0.5 + state["contrast"] * (curve[:, 1] - 0.5)
    own = plain.noise[:, :1]
    return replace(
        plain,
        crop=np.stack((geometry.crop_0, geometry.crop_1), 1),
        homography=geometry.homography,
        overlap=geometry.overlap,
        zoom=np.stack((geometry.zoom_0, geometry.zoom_1), 1),
        gamma=np.ones_like(plain.gamma),
        curve=curve,
        light=np.ones_like(plain.light),
        noise=np.concatenate((own, np.hypot(own, state["noise"])), 1),
    )


def measure(matchers: Sequence[str], protocol: BreakingPairs, runs: Path) -> dict[str, Any]:
    """Values of the record: by factor and matcher the share of pairs that are right at every step, and `breaks`: the
    first step at which fewer than half are, None where there is none."""
    values: dict[str, Any] = {**ESTIMATOR, "size": SIZE, "right_px": RIGHT, "base": BASE}
    values |= {"micrographs": [pair.id.partition("/")[2] for pair in protocol.pairs[: protocol.micrographs]]}
    values |= {"modalities": sorted({pair.modality or "" for pair in protocol}), "matchers": {}, "factors": {}}
    for factor in dict.fromkeys(step.factor for step in protocol.steps):
        steps = [step.value for step in protocol.steps if step.factor == factor]
        values["factors"][factor] = {"words": WORDS[factor], "steps": steps, "right": {}, "breaks": {}}
    pairs_sha256 = fingerprint(protocol)
    for name in matchers:
        file = load_predictions(predict(name, protocol, runs / "predictions", pairs_sha256=pairs_sha256))
        rows = [row for row in score_pairs(file, protocol, pairs_sha256) if row.stage == "final"]
        told = {key: file.header[key] for key in ("weights_sha256", "resize", "device", "commit")}
        key = matcher_key(name)
        values["matchers"][key] = {"name": public_name(name), **told}
        for factor, part in values["factors"].items():
            right = []
            for value in part["steps"]:
                errors = [row.error_px for row in rows if row.group == Step(factor, value).name]
                right.append(float(np.mean(np.array(errors) <= RIGHT)))
            part["right"][key] = right
            part["breaks"][key] = next((v for v, share in zip(part["steps"], right, strict=True) if share < 0.5), None)
    return values


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser("python -m microloftr breaking", description="Where each matcher breaks.")
    parser.add_argument("--matchers", default=",".join(MATCHERS), help="comma-separated names or paths")
    parser.add_argument("--micrographs", type=int, default=MICROGRAPHS, help=f"pairs of each step ({MICROGRAPHS})")
    parser.add_argument("--split", default="validation")
    parser.add_argument("--runs", type=Path, default=None, help="folder for predictions (runs/breaking)")
    parser.add_argument("--results", type=Path, default=None, help="folder of the record (results)")
    options = parser.parse_args(argv)
    matchers = options.matchers.split(",")
    for name in matchers:
        get_matcher(name)  # a name that leads nowhere is told before any work
    runs = options.runs or predictions_folder().parent / "breaking"
    values = measure(matchers, BreakingPairs(options.split, options.micrographs), runs)
    words = ["python -m microloftr breaking"]
    words += [f"--micrographs {options.micrographs}"] if options.micrographs != MICROGRAPHS else []
    words += [f"--matchers {','.join(map(public_name, matchers))}"] if tuple(matchers) != MATCHERS else []
    path = write_result(
        "breaking", values, command=" ".join(words), seed=SEED, split=options.split, folder=options.results
    )
    print(path)
    return 0
