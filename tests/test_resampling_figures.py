"""Figures of reading and shrinking say what they were given."""

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.patches import Circle

from microloftr.images import Image
from microloftr.views import resampling_figures as draw
from microloftr.views.figures import figure_bytes

LABELS = ["nearest", "bilinear", "bicubic", "Lanczos", "area", *(f"{k}, antialiased" for k in ("b", "c", "L"))]


def waves(size: int, *frequencies: tuple[float, float]) -> np.ndarray:
    """Waves of the given frequencies (x, y) in cycles per pixel, each weaker than the one before."""
    y, x = np.mgrid[:size, :size]
    parts = [np.sin(2 * np.pi * (fx * x + fy * y)) / 2**k for k, (fx, fy) in enumerate(frequencies)]
    return 0.5 + 0.2 * sum(parts)


def words(figure: Figure) -> str:
    texts = [text.get_text() for axis in figure.axes for text in (axis.title, *axis.texts, *axis.get_yticklabels())]
    return "\n".join([*texts, *(text.get_text() for legend in figure.legends for text in legend.texts)])


def test_every_reading_is_drawn_on_one_grey_scale_with_its_title():
    readings = {"dark": np.full((8, 9), 0.1), "grey": Image(np.full((8, 9), 0.5), None, "g")}
    readings |= {"colour": np.full((8, 9, 3), 0.3), "fourth": np.zeros((8, 9))}
    figure = draw.draw_readings(readings)
    assert [axis.get_title() for axis in figure.axes] == list(readings)
    assert {axis.images[0].get_clim() for axis in figure.axes[:2]} == {(0.0, 1.0)}
    assert figure_bytes(figure).startswith(b"\xff\xd8")


def test_kept_amplitudes_go_to_the_panel_of_their_kind():
    frequencies = np.array([0.1, 0.5, 1.0])
    kept = {label: np.full(3, k / 10) for k, label in enumerate(LABELS)}
    left, right = draw.draw_kept(frequencies, kept, 4).axes
    drawn = [[line.get_ydata()[0] for line in axis.lines[1:]] for axis in (left, right)]
    assert drawn == [[0.0, 0.1, 0.2, 0.3], [0.4, 0.5, 0.6, 0.7]]
    assert [text.get_text() for text in right.get_legend().texts] == ["area", "b", "c", "L"]


def test_shrunk_images_share_the_grey_scale_of_the_large_one():
    large = waves(40, (0.1, 0))
    figure = draw.draw_shrunk(large, {label: large[::4, ::4] * k for k, label in enumerate(LABELS)})
    assert [axis.get_title() for axis in figure.axes] == LABELS
    low, high = np.percentile(large, (0.5, 99.5))
    assert {axis.images[0].get_clim() for axis in figure.axes} == {(low, high)}
    assert all(axis.images[0].get_interpolation() == "nearest" for axis in figure.axes)


def test_peaks_beyond_what_the_small_image_holds_are_found():
    pixels = waves(128, (0.25, 0.125), (0.0, 0.1875), (0.03125, 0.0))
    peaks = draw.folded_peaks(pixels, scale=0.25)
    np.testing.assert_allclose(peaks, [[1.0, 0.5], [0.0, 0.75]], atol=0.02)
    assert draw.folded_peaks(waves(128, (0.03125, 0.0)), scale=0.25, count=1).shape == (1, 2)
    assert draw.folded_peaks(np.full((32, 32), 0.5), scale=0.25).shape == (0, 2)


def test_circles_lie_where_the_patterns_fold_to():
    pixels = waves(128, (0.2, 0.05))  # 0.8, 0.2 cycles per small pixel, which fold to −0.2, 0.2
    small = pixels[::4, ::4]
    figure = draw.draw_spectra(pixels, {"every fourth": small}, count=1)
    centres = [[p.center for p in axis.patches if isinstance(p, Circle)] for axis in figure.axes[2:]]
    np.testing.assert_allclose(centres[0][0], [0.8, 0.2], atol=0.02)
    np.testing.assert_allclose(centres[1][0], [-0.2, 0.2], atol=0.02)
    spectrum = figure.axes[3].images[0]
    left, right, bottom, top = spectrum.get_extent()
    row, column = np.unravel_index(spectrum.get_array().argmax(), spectrum.get_array().shape)
    place = left + (column + 0.5) * (right - left) / 32, top + (row + 0.5) * (bottom - top) / 32
    assert min(np.hypot(*np.subtract(place, c)) for c in centres[1]) < 0.04  # what is there is what arithmetic says


def test_a_wave_has_one_power_at_any_size():
    powers = [draw._spectrum(waves(size, (0.125, 0)))[0].max() for size in (64, 256)]
    assert powers[0] == pytest.approx(powers[1], rel=1e-2) and powers[0] == pytest.approx(0.2**2, rel=0.05)


def test_every_shift_is_a_dot_at_its_length():
    errors = {"wing": {label: np.array([[0.03, 0.04], [0.0, 0.0]]) for label in LABELS}}
    errors["section"] = errors["wing"]
    figure = draw.draw_shifts(errors, 0.02)
    (axis,) = figure.axes
    assert len(axis.collections) == 2 * len(LABELS)
    np.testing.assert_allclose(axis.collections[0].get_offsets()[:, 0], [0.05, 1e-4])
    assert all(word in words(figure) for word in [*LABELS, "wing", "section", "0.02 px"])


def test_the_rule_puts_centres_in_the_middle():
    (axis,) = draw.draw_rule(factor=5, small=2).axes
    marks = [line.get_xdata()[0] for line in axis.lines if line.get_marker() == "o"]
    naive = [line.get_xdata()[0] for line in axis.lines if line.get_marker() == "X"]
    assert marks == [2.0, 7.0] and naive == [0, 5]


def test_scores_are_drawn_with_their_intervals():
    keys = {f"k{k}": label for k, label in enumerate(LABELS)}
    names = ("auc_1", "ours_better_1")
    row = {f"{n}{end}": v for n in names for end, v in (("", 0.5), ("_low", 0.25), ("_high", 0.75))}
    levels = {level: {m: dict.fromkeys(keys, row) for m in ("micro", "rootsift")} for level in ("easy", "medium")}
    figure = draw.draw_scores(levels, keys, 1)
    assert len(figure.axes) == 4
    bars = [line.get_xdata().tolist() for line in figure.axes[0].lines if len(line.get_xdata()) == 2]
    assert bars == [[0.25, 0.75]] * 16
    assert all(word in words(figure) for word in [*LABELS, "micro: AUC@1 px", "easy", "medium"])
