"""Figures: the right marks at the right places, small, and the same bytes every time."""

import io

import numpy as np
import pytest
from matplotlib.collections import LineCollection, PathCollection
from matplotlib.quiver import Quiver
from PIL import Image as PillowImage

from microloftr import Matches, overlay
from microloftr.errors import ParameterError
from microloftr.images import Image
from microloftr.views import figures

SHIFT = np.array([-12.5, 7.25])


def pair(um_per_px: float | None = None):
    generator = np.random.default_rng(1)
    pixels = generator.uniform(size=(80, 120)).astype(np.float32)
    image_0, image_1 = Image(pixels, um_per_px, "a"), Image(np.ascontiguousarray(pixels[:40, :60]), None, "b")
    points = generator.uniform(13, 79, (150, 2))
    matched = points + SHIFT
    matched[:30] = generator.uniform(0, 60, (30, 2))
    confidence = generator.uniform(size=150)
    return image_0, image_1, Matches(points, matched, confidence, (120, 80), (60, 40), um_per_px)


def collections(figure, kind):
    return [artist for artist in figure.axes[0].collections if isinstance(artist, kind)]


def test_lines_join_the_matched_points_in_the_drawn_frame():
    image_0, image_1, matches = pair()
    transform = matches.estimate("translation")
    figure = figures.draw_matches(image_0, image_1, matches, transform, lines=500)
    dashed, solid = collections(figure, LineCollection)
    segments = np.array(solid.get_segments())
    assert len(segments) == transform.n_inliers and len(dashed.get_segments()) == 150 - transform.n_inliers
    np.testing.assert_allclose(segments[:, 0], matches.points_0[transform.inliers])
    picture = figure.axes[0].images[1]  # image_1, twice as large to be as high as image_0, beside it
    left, right, bottom, top = picture.get_extent()
    assert (right - left, bottom - top) == pytest.approx((120, 80))
    drawn = (segments[:, 1] - [left, top]) / 2 - 0.5
    np.testing.assert_allclose(drawn, matches.points_1[transform.inliers], atol=1e-9)
    np.testing.assert_allclose(solid.get_array(), matches.confidence[transform.inliers])
    assert solid.get_clim() == dashed.get_clim() == (0, 1)
    title = figure.axes[0].get_title()
    assert title == f"150 matches; {transform.n_inliers} agree with the transform"


def test_few_lines_are_spread_over_the_image_and_take_the_most_confident():
    image_0, image_1, matches = pair()
    figure = figures.draw_matches(image_0, image_1, matches, lines=20)
    (lines,) = [lines for lines in collections(figure, LineCollection) if len(lines.get_segments())]
    starts = np.array(lines.get_segments())[:, 0]
    assert 8 <= len(starts) <= 20 and f"{len(starts)} of them with a line" in figure.axes[0].get_title()
    assert np.ptp(starts, axis=0).min() > 40
    assert lines.get_array().mean() > matches.confidence.mean() + 0.2
    dots = sum(len(dots.get_offsets()) for dots in collections(figure, PathCollection))
    assert dots == 300  # every match is a dot in both images


def test_residuals_are_drawn_as_they_are():
    image_0, _, matches = pair()
    transform = matches.estimate("translation")
    figure = figures.draw_residuals(image_0, matches, transform)
    (arrows,) = collections(figure, Quiver)
    assert figure.axes[0].get_title() == "residuals, 5 times as long"
    offsets = (matches.points_1 - transform.apply(matches.points_0))[transform.inliers]
    np.testing.assert_allclose(np.stack([arrows.U, arrows.V], axis=1), 5 * offsets, atol=1e-9)
    assert sum(bar.get_height() for bar in figure.axes[1].patches) == transform.n_inliers
    assert f"({150 - transform.n_inliers} matches beyond 2 px)" in figure.axes[1].get_xlabel()


def test_titles_name_images_and_sizes():
    image_0, image_1, _ = pair()
    titles = [axes.get_title() for axes in figures.draw_pair(image_0, image_1).axes]
    assert titles == ["image_0: a, 120 × 80 px", "image_1: b, 60 × 40 px"]
    long = Image(image_0.pixels, None, "a_very_long_name_of_an_image_from_a_plate_reader")
    assert "a_very_long_…late_reader" in figures.draw_pair(long, image_1).axes[0].get_title()


@pytest.mark.parametrize(
    ("um_per_px", "label", "length"), [(0.5, "10 µm", 20), (0.00071, "20 nm", 28.2), (4, "100 µm", 25)]
)
def test_the_scale_bar_is_as_long_as_it_says(um_per_px, label, length):
    image_0, image_1, _ = pair(um_per_px)
    first, second = figures.draw_pair(image_0, image_1).axes
    (bar,), (text,) = first.lines, first.texts
    assert text.get_text() == label and np.ptp(bar.get_xdata()) == pytest.approx(length, rel=0.01)
    assert not second.lines and not second.texts


def test_no_matches_and_no_transform_are_drawn_too():
    image_0, image_1, _ = pair()
    none = Matches([], [], [], (120, 80), (60, 40))
    figure = figures.draw_matches(image_0, image_1, none)
    assert figure.axes[0].get_title() == "0 matches"
    assert len(figures.figure_bytes(figure)) > 1000


def test_bytes_are_the_same_every_time_and_hold_no_remarks(tmp_path):
    image_0, image_1, matches = pair()
    transform = matches.estimate("translation")

    def all_figures():
        laid = [overlay(image_0, image_1, transform, mode) for mode in ("colour", "checkerboard")]
        yield figures.draw_pair(image_0, image_1)
        yield figures.draw_matches(image_0, image_1, matches, transform)
        yield figures.draw_overlay(*laid)
        yield figures.draw_residuals(image_0, matches, transform)

    first, second = ([figures.figure_bytes(figure) for figure in all_figures()] for _ in range(2))
    assert first == second
    figure = next(all_figures())
    png = figures.figure_bytes(figure, "png")
    assert png == figures.figure_bytes(next(all_figures()), "png")
    for data, kind in [*((data, "JPEG") for data in first), (png, "PNG")]:
        picture = PillowImage.open(io.BytesIO(data))
        assert picture.format == kind and picture.width == 1000
        assert not set(picture.info) & {"Software", "date", "Creation Time", "exif"}
        assert len(data) < 300_000
    for name in ("a.png", "a.jpg"):
        figures.save_figure(figure, tmp_path / "new" / name)
    assert sorted(file.name for file in (tmp_path / "new").iterdir()) == ["a.jpg", "a.png"]
    with pytest.raises(ParameterError, match="jpeg or png"):
        figures.figure_bytes(figure, "pdf")
    with pytest.raises(ParameterError, match=r"\.png or \.jpg"):
        figures.save_figure(figure, tmp_path / "a.svg")


def test_large_images_are_shrunk_but_keep_their_frame():
    large = np.zeros((650, 1300), np.float32)
    large[:, 650:] = 1
    figure = figures.draw_pair(Image(large, None, "large"), Image(large[:64, :64], None, "small"))
    shown = figure.axes[0].images[0]
    assert shown.get_array().shape == (600, 1200) and shown.get_extent() == [-0.5, 1299.5, 649.5, -0.5]
    laid = overlay(large, large, np.eye(3))
    assert figures.draw_overlay(laid, laid).axes[0].images[0].get_array().shape == (600, 1200, 3)


def test_show_puts_one_picture_into_a_notebook(monkeypatch):
    import IPython.display

    shown = []
    monkeypatch.setattr(IPython.display, "display", shown.append)
    image_0, image_1, _ = pair()
    figures.show(figures.draw_pair(image_0, image_1), "png")
    (picture,) = shown
    assert picture.format == "png" and picture.data.startswith(b"\x89PNG")
