"""What refinement does, in numbers: the path of one match, its errors, two readings of one heat, cells and gradients.

Notebook 05 shows them; `refinement_figures` draws them.
"""

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from microloftr.errors import ParameterError
from microloftr.geometry import cell_points
from microloftr.model.coarse_matching import CoarseMatches
from microloftr.model.expectation import window_places
from microloftr.model.presets import COARSE_STRIDE, FINE_STRIDE, ModelConfig
from microloftr.model.sine_transformer import PublishedTransformer
from microloftr.model.trace import Trace
from microloftr.model.windows import Refined
from microloftr.views.case import Case

STAGES = ("coarse", "peak", "refined")
KINDS = ("true cell", "true, moved by one", "found, own cell", "found, one beside", "found, wrong")
WHOLE, AROUND_PEAK, AS_READ = "whole window", "3 × 3 around the peak", "the same, corrected"
OWN, BESIDE = COARSE_STRIDE / 2, 3 * COARSE_STRIDE / 2  # px: the truth lies in the cell itself, in one beside it


@dataclass(frozen=True)
class Path:
    """One match from cell to point in image_1; places are (x, y), in the unit that the name says."""

    cell: int  # flat index of the coarse cell
    column_row: tuple[int, int]
    centre_px: tuple[float, float]
    fine_cell: tuple[int, int]
    window_fine_cells: tuple[tuple[int, int], tuple[int, int]]  # first and last, both ends in
    best_place: tuple[int, int]  # of the window's W × W
    best_probability: float
    peak_px: tuple[float, float]  # from the centre
    offset_px: tuple[float, float]
    point_px: tuple[float, float]

    def lines(self) -> str:
        """One line for each step."""
        (x_low, y_low), (x_high, y_high) = self.window_fine_cells
        return "\n".join(
            (
                f"coarse cell {self.cell}: column {self.column_row[0]}, row {self.column_row[1]}",
                f"its centre, {COARSE_STRIDE} px a cell: {_pair(self.centre_px)} px",
                f"fine cell, {FINE_STRIDE} px each: {_pair(self.fine_cell)}",
                f"window: fine cells x {x_low} to {x_high}, y {y_low} to {y_high}",
                f"best place of the window: {_pair(self.best_place)}, probability {self.best_probability:.2f}",
                f"the peak from the centre: {_pair(self.peak_px)} px",
                f"the offset read there: {_pair(self.offset_px, 2)} px",
                f"the point, centre + offset: {_pair(self.point_px, 2)} px",
            )
        )


def path_of(trace: Trace, index: int) -> Path:
    """The way of match number `index`, from its cell's flat index and its heat alone; offsets as refinement read them.

    Raises ParameterError where the trace has no such match, or no refinement.
    """
    if trace.refined is None or not 0 <= index < len(trace.refined.offset):
        raise ParameterError(f"there is no refined match number {index} in this trace")
    return path_from(trace.coarse_matches, trace.refined, trace.encoded.coarse_1.shape[-1], index)


def path_from(matches: CoarseMatches, refined: Refined, width_1: int, index: int) -> Path:
    """As `path_of`, for cells that anything chose, as training does: `width_1` coarse cells in a row of image_1."""
    cell = int(matches.cells_1[index])
    column, row = cell % width_1, cell // width_1
    ratio, log_heat = COARSE_STRIDE // FINE_STRIDE, refined.log_heat[index]
    side = int(len(log_heat) ** 0.5)
    half, best = side // 2, int(log_heat.argmax())
    place = best % side, best // side
    offset = tuple(refined.offset[index].tolist())
    fine, centre = (column * ratio, row * ratio), (float(column * COARSE_STRIDE), float(row * COARSE_STRIDE))
    return Path(
        cell=cell,
        column_row=(column, row),
        centre_px=centre,
        fine_cell=fine,
        window_fine_cells=((fine[0] - half, fine[1] - half), (fine[0] + half, fine[1] + half)),
        best_place=place,
        best_probability=float(log_heat[best].exp()),
        peak_px=(float((place[0] - half) * FINE_STRIDE), float((place[1] - half) * FINE_STRIDE)),
        offset_px=offset,
        point_px=(centre[0] + offset[0], centre[1] + offset[1]),
    )


@dataclass(frozen=True, eq=False)
class Errors:
    """M matches of one or more pairs: stage → found − true (M, 2) px; `truth` (M, 2): true offset from the cell."""

    by_stage: dict[str, np.ndarray]
    truth: np.ndarray
    case: np.ndarray  # (M,) the number of the pair
    log_heat: Tensor

    def __len__(self) -> int:
        return len(self.truth)

    def near(self, reach: float = BESIDE) -> np.ndarray:
        """Which matches (M,) have their truth within `reach` px of the cell by either axis: not plainly wrong ones."""
        return (np.abs(self.truth) <= reach).all(1)

    def median(self, stage: str) -> float:
        """Median distance from the truth in px, over all matches."""
        return float(np.median(np.hypot(*self.by_stage[stage].T)))


def errors_of(cases: Sequence[Case]) -> Errors:
    """How far all matches of the cases are from the known truth, as cells, at the window's peak, and refined."""
    found: dict[str, list[np.ndarray]] = {stage: [] for stage in STAGES}
    for case in cases:
        matches, peak = case.trace.matches, case.trace.refined.peak
        truth = case.true_points(matches.points_0.numpy().astype(float))
        points = matches.coarse_points_1, matches.coarse_points_1 + peak, matches.points_1
        for stage, point in zip(STAGES, points, strict=True):
            found[stage].append(point.numpy() - truth)
    by_stage = {stage: np.concatenate(parts) for stage, parts in found.items()}
    number = np.repeat(np.arange(len(cases)), [len(part) for part in found["coarse"]])
    return Errors(by_stage, -by_stage["coarse"], number, torch.cat([case.trace.refined.log_heat for case in cases]))


def planted_heat(truth: Tensor, side: int, even: float) -> Tensor:
    """Log heat (M, side²) that knows offsets `truth` (M, 2) px, but for a share `even` spread over the whole window.

    The rest lies on the four places around the truth, by bilinear weights: its expectation is the truth exactly.
    """
    places = torch.arange(side, dtype=truth.dtype) - side // 2
    across, down = ((1 - (places - truth[:, k : k + 1] / FINE_STRIDE).abs()).clamp(min=0) for k in (0, 1))
    peak = (down[:, :, None] * across[:, None, :]).flatten(1)
    return ((1 - even) * peak + even / side**2).log()


def expectation(log_heat: Tensor, around_peak: int | None = None) -> Tensor:
    """Mean place (M, 2) px of heats (M, W²): of the whole window, or of the places within `around_peak` of the best."""
    places = window_places(int(log_heat.shape[1] ** 0.5), log_heat)  # (W², 2)
    if around_peak is not None:
        far = (places - places[log_heat.argmax(1)][:, None]).abs().amax(2) > around_peak
        log_heat = log_heat.masked_fill(far, -torch.inf)
    return log_heat.softmax(1) @ places * FINE_STRIDE


def heat_spread(log_heat: Tensor) -> Tensor:
    """Standard deviation (M, 2) px of heats (M, W²) along x and y; squared and added, LoFTR §3.5's σ²."""
    places = window_places(int(log_heat.shape[1] ** 0.5), log_heat) * FINE_STRIDE
    heat = log_heat.softmax(1)
    return (heat @ places**2 - (heat @ places) ** 2).clamp(min=0).sqrt()


def readings(errors: Errors) -> dict[str, np.ndarray]:
    """The offsets (M, 2) px that one heat gives: over the whole window, around its peak, and as the model reads it."""
    whole, around = expectation(errors.log_heat), expectation(errors.log_heat, 1)
    return {WHOLE: whole.numpy(), AROUND_PEAK: around.numpy(), AS_READ: errors.by_stage["refined"] + errors.truth}


def slope(found: np.ndarray, errors: Errors) -> float:
    """How much of a true offset is found: least squares of offsets (M, 2) on the truth, where it is in the own cell."""
    near = errors.near(OWN)
    return float((found[near] * errors.truth[near]).sum() / (errors.truth[near] ** 2).sum())


def published_cells(
    found: CoarseMatches, cells_1: Tensor, total: int, least: int, generator: torch.Generator
) -> tuple[CoarseMatches, Tensor]:
    """The published choice of cells to refine in training: predictions, filled up with true cells.

    Of the M `found` matches all are kept, or `total` − `least` drawn with replacement where there are more; true cells
    (`cells_1` (B, L0), −1 for none) are drawn with replacement up to `total`, `least` of them always, at confidence 0.
    Returns the `total` matches and which are from the truth. Source: LoFTR's code, get_coarse_match.
    """
    batch, cells_0 = (cells_1 >= 0).nonzero(as_tuple=True)
    if total <= least or len(batch) == 0:
        raise ParameterError(f"{total} cells to refine with {least} true ones of {len(batch)} cannot be drawn")
    count, room = len(found.cells_0), total - least
    kept = torch.arange(count) if count <= room else torch.randint(count, (room,), generator=generator)
    drawn = torch.randint(len(batch), (total - len(kept),), generator=generator)
    batch, cells_0 = batch[drawn], cells_0[drawn]
    matches = CoarseMatches(
        torch.cat((found.batch_index[kept], batch)),
        torch.cat((found.cells_0[kept], cells_0)),
        torch.cat((found.cells_1[kept], cells_1[batch, cells_0])),
        torch.cat((found.confidence[kept].detach(), torch.zeros(len(drawn)))),
    )
    return matches, torch.arange(total) >= len(kept)


def true_offset(matches: CoarseMatches, points_1: Tensor, width_1: int) -> Tensor:
    """Where the truth lies from each matched cell of image_1 (M, 2) px; points_1 (B, L0, 2) from supervision."""
    true = points_1[matches.batch_index, matches.cells_0]
    return (true - cell_points(matches.cells_1, width_1, COARSE_STRIDE)).float()


def kinds(offset: Tensor, from_truth: Tensor | bool) -> dict[str, float]:
    """Shares of the KINDS of refined cells, by their true offset (M, 2) px and whether the truth named them (M,)."""
    far = offset.abs().amax(1)
    given = torch.as_tensor(from_truth).expand(len(far))
    own, beside = far <= OWN, (far > OWN) & (far <= BESIDE)
    chosen = (given & own, given & ~own, ~given & own, ~given & beside, ~given & (far > BESIDE))
    return {kind: float(which.float().mean()) if len(far) else 0.0 for kind, which in zip(KINDS, chosen, strict=True)}


def gradient_by_part(model: nn.Module, loss: Tensor) -> dict[str, float]:
    """Length of the gradient of `loss` in each part of the model that has weights; 0.0 where no path leads there.

    The graph is kept and nothing is accumulated.
    """
    parts = {name: list(part.parameters()) for name, part in model.named_children()}
    parts = {name: weights for name, weights in parts.items() if weights}
    weights = [weight for part in parts.values() for weight in part]
    given = iter(torch.autograd.grad(loss, weights, retain_graph=True, allow_unused=True))
    return {name: _length([next(given) for _ in part]) for name, part in parts.items()}


def gradient_to(value: Tensor, loss: Tensor) -> float:
    """Length of the gradient of `loss` in one tensor of its graph, or of none of it; the graph is kept."""
    return _length(torch.autograd.grad(loss, [value], retain_graph=True, allow_unused=True))


def fine_transformer_cost(dim: int, heads: int, windows: int = 200, side: int = 5) -> tuple[int, float]:
    """Parameters of the published fine transformer at another width, and seconds of one core for so many window pairs.

    The least of three runs. Raises ConfigError where the width does not split into the heads.
    """
    config = ModelConfig(refinement="expectation", fine_dim=dim, fine_heads=heads, window=side)
    model = PublishedTransformer(config.fine_dim, config.fine_heads, 1, "linear").eval()
    generator = torch.Generator().manual_seed(0)
    both = [torch.randn(windows, side**2, dim, generator=generator) for _ in range(2)]
    seconds, threads = [], torch.get_num_threads()
    torch.set_num_threads(1)
    with torch.inference_mode():
        for _ in range(3):
            start = time.process_time()  # what other programs do meanwhile does not count
            model(*both)
            seconds.append(time.process_time() - start)
    torch.set_num_threads(threads)
    return sum(weight.numel() for weight in model.parameters()), min(seconds)


def _length(gradients: Iterable[Tensor | None]) -> float:
    return float(sum((part.double() ** 2).sum() for part in gradients if part is not None)) ** 0.5


def _pair(values: Sequence[float], digits: int = 0) -> str:
    return f"({values[0]:.{digits}f}, {values[1]:.{digits}f})"
