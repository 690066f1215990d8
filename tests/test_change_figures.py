"""Every change is shown once, on images that differ from the micrograph they start from."""

import csv
from importlib.resources import files

import numpy as np
import pytest

from microloftr.data.atlas import build_atlas
from microloftr.data.micrographs import Micrograph
from microloftr.data.wider import texture
from microloftr.views import change_figures


@pytest.fixture(scope="module")
def shown():
    """On made micrographs of the names that the figure asks for."""
    grey = texture("cells", np.random.default_rng(0), 720)
    colour = np.stack([np.roll(grey, 9 * k, 0) for k in range(3)], -1)
    names = change_figures.SCANNED.micrograph, change_figures.STAINED.micrograph
    made = [Micrograph(name, "train", name, "m", p) for name, p in zip(names, (grey, colour), strict=True)]
    return change_figures.examples(build_atlas(made))


def test_every_change_differs_from_the_micrograph_it_is_made_to(shown):
    names = list(shown)
    second = names.index("a stained section")
    for start, stop in ((0, second), (second, len(names))):
        for name in names[start + 1 : stop]:
            assert ((shown[name] - shown[names[start]]).abs() > 0.05).float().mean() > 0.002, name
    assert all(image.min() >= 0 and image.max() <= 1 for image in shown.values())


def test_each_has_its_name_under_it(shown):
    figure = change_figures.draw_changes(shown)
    assert [axis.texts[0].get_text() for axis in figure.axes if axis.texts] == list(shown)
    assert sum(len(axis.images) for axis in figure.axes) == len(shown)


def test_the_places_lie_in_bundled_training_micrographs():
    places = change_figures.SCANNED, change_figures.STAINED, change_figures.ELSEWHERE
    with open(files("microloftr.micrographs") / "manifest.csv", newline="", encoding="utf-8") as file:
        rows = {row["file"].removesuffix(".jp2"): row for row in csv.DictReader(file)}
    for place in places:
        row = rows[place.micrograph]
        assert row["split"] == "train"
        width, height = int(row["width"]), int(row["height"])
        assert 0 <= place.x <= width - change_figures.SIDE
        assert 0 <= place.y <= height - change_figures.SIDE
