"""What averages out of a transform and what does not: matches of the network alone; and what a wrong frame costs."""

from collections.abc import Sequence

import numpy as np

from microloftr.data.atlas import Atlas
from microloftr.evaluation.cell_choices import FineStage
from microloftr.evaluation.metrics import corner_error
from microloftr.evaluation.score import THRESHOLD
from microloftr.evaluation.waterfall_judge import frozen, points_of, truth_of_pair
from microloftr.model.loftr import LoFTR
from microloftr.registration.families import find_homography
from microloftr.views.waterfall_figures import Averaged


def averaged(model: LoFTR, atlas: Atlas, mixture: str, count: int) -> list[Averaged]:
    """`count` pairs of a mixture through the network alone."""
    stage, cases = FineStage(model).eval(), []
    for batch in frozen(model, atlas, mixture, count):
        for k, (points_0, coarse, fine) in enumerate(points_of(batch, stage)):
            true = truth_of_pair(points_0, batch.pairs, k)
            residuals = {"coarse": (coarse - true).numpy(), "fine": (fine - true).numpy()}
            size = tuple(batch.pairs.images_0.shape[-2:][::-1])
            corner = {}
            for name, points in (("coarse", coarse), ("fine", fine)):
                matrix, _ = find_homography(points_0.numpy().astype(float), points.numpy().astype(float), THRESHOLD)
                corner[name] = corner_error(matrix, batch.pairs.homography[k].numpy(), size)
            cases.append(Averaged(mixture, residuals, corner))
    return cases


def middle_case(cases: Sequence[Averaged]) -> Averaged:
    """The pair whose coarse transform is neither good nor bad: the median by its corner error."""
    return sorted(cases, key=lambda case: case.corner["coarse"])[len(cases) // 2]


def misplaced(degrees: float, scale: float, shift: float) -> float:
    """How far (px) a similarity's points land from the truth where it counts from `shift` px aside: |(A − 1)(s, s)|."""
    angle = np.deg2rad(degrees)
    slope = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return float(np.linalg.norm((slope - np.eye(2)) @ np.full(2, shift)))
