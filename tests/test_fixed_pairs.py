"""The fixed pairs stay what they are: a hash of what they are made from, and thumbnails of what comes out.

After a deliberate change: `python tests/test_fixed_pairs.py` writes both anew (and every result is stale).
"""

import json
from pathlib import Path

import numpy as np
import pytest

from microloftr.data.fixed import SEEDS, fingerprint, fixed_pairs, split_atlas
from microloftr.data.levels import LEVELS
from microloftr.errors import ParameterError

HERE = Path(__file__).parent / "fixed_pairs"
FIRST = 3  # pairs of each level whose thumbnails are kept


def thumbnails(level: str) -> np.ndarray:
    """Means (FIRST, 2, 10, 10) of 32×32 pixels of the first pairs."""
    pairs = fixed_pairs(level, limit=FIRST)
    images = np.stack((pairs.images_0, pairs.images_1), 1).astype(float)
    return images.reshape(FIRST, 2, 10, 32, 10, 32).mean((3, 5))


@pytest.mark.parametrize("level", list(LEVELS))
def test_the_pairs_are_made_from_the_same_numbers(level):
    assert fingerprint(level) == json.loads((HERE / "hashes.json").read_text(encoding="utf-8"))[level]


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


def test_no_specimen_is_in_two_splits():
    specimens = {split: set(split_atlas(split).specimens) for split in ("validation", "test")}
    assert not specimens["validation"] & specimens["test"]
    assert set(SEEDS) >= set(specimens)


@pytest.mark.parametrize(("level", "split"), [("harder", "validation"), ("easy", "lattice")])
def test_unknown_levels_and_splits_are_named(level, split):
    with pytest.raises(ParameterError, match=r"harder|lattice"):
        fixed_pairs(level, split)


if __name__ == "__main__":
    HERE.mkdir(exist_ok=True)
    (HERE / "hashes.json").write_text(
        json.dumps({level: fingerprint(level) for level in LEVELS}, indent=2) + "\n", encoding="utf-8"
    )
    np.savez_compressed(
        HERE / "thumbnails.npz", **{level: thumbnails(level).round(2).astype(np.float32) for level in LEVELS}
    )
