"""The fixed pairs stay what they are: a hash of what they are made from, and thumbnails of what comes out.

After a deliberate change: `python tests/test_fixed_pairs.py` writes both anew (and every result is stale).
"""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from microloftr.data import fixed
from microloftr.data.fixed import fingerprint, fixed_pairs, split_atlas
from microloftr.data.levels import LEVELS
from microloftr.errors import ParameterError

HERE = Path(__file__).parent / "fixed_pairs"
FIRST = 3  # pairs of each level whose thumbnails are kept


def thumbnails(level: str) -> np.ndarray:
    """Means of 32×32 pixels of the first pairs, and their mean step from pixel to pixel: (FIRST, 2, 101)."""
    pairs = fixed_pairs(level, limit=FIRST)
    images = np.stack((pairs.images_0, pairs.images_1), 1).astype(float)
    means = images.reshape(FIRST, 2, 10, 32, 10, 32).mean((3, 5)).reshape(FIRST, 2, 100)
    steps = np.abs(np.diff(images, axis=-1)).mean((2, 3))[..., None]
    return np.concatenate((means, steps), -1)


@pytest.mark.parametrize("split", ["validation", "test"])
def test_the_pairs_are_made_from_the_same_numbers(split):
    kept = json.loads((HERE / "hashes.json").read_text(encoding="utf-8"))[split]
    assert {level: fingerprint(level, split) for level in LEVELS} == kept


def test_the_fingerprint_sees_every_number_it_says(monkeypatch):
    real, kept = fixed.draw_parameters, fingerprint("easy")
    for name in ("homography", "overlap", "plane", "gamma", "blur", "light", "photons", "displacement"):

        def changed(*arguments, name=name):
            parameters = real(*arguments)
            return replace(parameters, **{name: np.nan_to_num(getattr(parameters, name), posinf=9.0) + 1})

        monkeypatch.setattr(fixed, "draw_parameters", changed)
        assert fingerprint("easy") != kept, name


@pytest.mark.parametrize("level", list(LEVELS))
def test_the_images_come_out_the_same(level):
    kept = np.load(HERE / "thumbnails.npz", allow_pickle=False)[level]
    made = thumbnails(level)
    assert np.abs(made - kept).max() < 0.3  # grey values of 255; another processor may round a pixel otherwise
    assert np.abs(made[1:] - kept[:-1]).max() > 5


def test_there_are_four_of_every_micrograph_and_limits_take_the_first():
    atlas = split_atlas("validation")
    pairs = fixed_pairs("easy", limit=2)
    assert len(pairs) == 2
    assert pairs.micrograph == atlas.names[:2]
    assert pairs.images_0.shape == (2, 320, 320)
    assert pairs.images_0.dtype == np.uint8


@pytest.mark.parametrize(("level", "split"), [("harder", "validation"), ("easy", "lattice")])
def test_unknown_levels_and_splits_are_named(level, split):
    with pytest.raises(ParameterError, match=r"harder|lattice"):
        fixed_pairs(level, split)


if __name__ == "__main__":
    HERE.mkdir(exist_ok=True)
    hashes = {split: {level: fingerprint(level, split) for level in LEVELS} for split in ("validation", "test")}
    (HERE / "hashes.json").write_text(json.dumps(hashes, indent=2) + "\n", encoding="utf-8")
    np.savez_compressed(
        HERE / "thumbnails.npz", **{level: thumbnails(level).round(2).astype(np.float32) for level in LEVELS}
    )
