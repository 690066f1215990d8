"""Photographs and textures for training: where they come from, that they repeat, and that they stay out of the rest."""

import csv
from importlib.resources import files

import numpy as np
import pytest

from microloftr.config import load_config
from microloftr.data import wider
from microloftr.data.wider import KINDS, PHOTOGRAPHS, photographs, texture, textures, wider_micrographs
from microloftr.errors import ConfigError, ParameterError


@pytest.mark.parametrize("kind", KINDS)
def test_a_texture_is_its_seed_and_fills_the_grey_range(kind):
    one, same, other = (texture(kind, np.random.default_rng(seed), 128) for seed in (1, 1, 2))
    assert np.array_equal(one, same)
    assert one.shape == (128, 128) and one.dtype == np.uint8
    assert not np.array_equal(one, other)
    assert np.ptp(one.astype(int)) > 100
    assert one.std() > 8


@pytest.mark.parametrize("kind", KINDS)
def test_no_place_of_a_texture_repeats_another(kind):
    """Of a pattern that repeated itself no place could be found: its autocorrelation has one peak."""
    image = texture(kind, np.random.default_rng(3), 128).astype(float)
    spectrum = np.fft.rfft2(image - image.mean())
    agreement = np.fft.irfft2(np.abs(spectrum) ** 2)
    agreement /= agreement[0, 0]
    agreement[np.ix_(*[np.r_[0:9, 120:128]] * 2)] = 0
    assert agreement.max() < 0.9


def test_all_are_of_the_split_train_and_none_is_bundled():
    everything = wider_micrographs("photographs") + textures(0, per_kind=1, side=96)
    assert {one.split for one in everything} == {"train"}
    assert len({one.name for one in everything}) == len(everything)
    rows = csv.DictReader((files("microloftr.micrographs") / "manifest.csv").read_text(encoding="utf-8").splitlines())
    taken = " ".join(row["source"] for row in rows)
    assert "skimage/data/ihc.png" in taken  # a validation micrograph: it must not be learnt from
    assert not [name for name in PHOTOGRAPHS if f"skimage/data/{name}" in taken]


def test_the_words_choose(monkeypatch):
    monkeypatch.setattr(wider, "textures", lambda seed: ("t",) * (1 + seed))
    monkeypatch.setattr(wider, "photographs", lambda: ("p",))
    assert wider_micrographs("none") == ()
    assert wider_micrographs("textures") == ("t",)
    assert wider_micrographs("both", seed=1) == ("p", "t", "t")
    with pytest.raises(ParameterError, match="no wider pictures 'all'"):
        wider_micrographs("all")


def test_photographs_without_scikit_image_are_asked_for_in_one_sentence(monkeypatch):
    monkeypatch.setattr(wider, "find_spec", lambda name: None)
    with pytest.raises(ParameterError, match="not installed"):
        photographs()


def test_the_configuration_knows_the_words():
    assert load_config(["data.wider=both"]).data.wider == "both"
    assert load_config().data.wider == "none"
    with pytest.raises(ConfigError, match=r"data\.wider is 'all'"):
        load_config(["data.wider=all"])
