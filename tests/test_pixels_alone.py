"""Search and pixels with weights that know nothing: the command, on stand-ins for the matchers."""

import json

from microloftr.evaluation import pixels_alone
from microloftr.evaluation.protocols import LEVEL_NAMES


def test_the_record_has_the_same_pairs_for_every_matcher(tmp_path, monkeypatch, capsys):
    asked = {}

    def found(matchers, protocols, **options):
        asked.update(options, protocols=[(one.name, one.limit) for one in protocols], matchers=matchers)
        summary = {"n": 3, "sources": 3, "seconds": 1.0, "median_error": 0.01, "matches": 7.0, "failures": 0.0}
        for name in ("auc_1", "auc_3", "auc_5", "auc_10"):
            summary |= {name: 0.9, f"{name}_low": 0.8, f"{name}_high": 1.0}
        summary |= {"precision_1": 1.0, "precision_3": 1.0}
        told = {"resize": "none", "threads": 1}
        keys = [name.replace("-", "_") for name in matchers]
        levels = {level: {key: summary | {"coarse": dict(summary)} for key in keys} for level in LEVEL_NAMES}
        return {
            "evaluate": {
                "estimator": "E", "threshold_px": 2.0, "match_cap": 9, "levels": levels, "modalities": {},
                "matchers": {key: {"name": name, **told} for key, name in zip(keys, matchers, strict=True)},
            }
        }  # fmt: skip

    monkeypatch.setattr(pixels_alone, "predict_and_score", found)
    assert pixels_alone.main(["--limit", "3", "--results", str(tmp_path), "--runs", str(tmp_path / "runs")]) == 0
    record = json.loads((tmp_path / "pixels_alone.json").read_text())
    assert (
        record["command"] == "python -m microloftr pixels-alone --limit 3" and record["values"]["pairs_per_level"] == 3
    )
    assert "modalities" not in record["values"]
    assert all("coarse" not in one for level in record["values"]["levels"].values() for one in level.values())
    assert asked["protocols"] == [(level, 3) for level in LEVEL_NAMES] and asked["results"] is None
    assert asked["runs"] == tmp_path / "runs"
    assert "micro-random-searched | 0.90 [0.80, 1.00] · 0 %" in capsys.readouterr().out
