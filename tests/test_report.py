"""Tables and figure from the records, and what is stale."""

import json
from pathlib import Path

import pytest
from PIL import Image

from microloftr.errors import MicroLoFTRError
from microloftr.evaluation import report, summary, tables
from microloftr.evaluation.summary import PairScore, summarise_groups, summarise_modalities, summarise_protocol
from microloftr.views.score_figures import draw_scores
from tests.test_breaking import breaking_record

PLAIN = {"stage": "final", "modality": "", "accuracy_px": 0.0, "matches": 100, "inliers": 90, "precision_1": 0.5}
PLAIN |= {"precision_3": 0.75, "precision_5": 1.0, "median_correct_px": 0.44, "seconds": 0.125}


def scores(matcher: str, group: str, errors: list[float], **values) -> list[PairScore]:
    return [
        PairScore(matcher=matcher, group=group, source=f"s{k % 3}", id=str(k), error_px=error, **(PLAIN | values))
        for k, error in enumerate(errors)
    ]


@pytest.fixture(scope="module")
def records() -> dict[str, dict]:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(summary, "RESAMPLES", 200)
        return made_records()


def made_records() -> dict[str, dict]:
    told = {"weights_sha256": None, "resize": "none: images as read", "device": "cpu", "threads": 2, "commit": "abc"}
    matchers = {key: {"name": name, **told} for key, name in (("micro", "micro"), ("micro_random", "micro-random"))}
    matchers["micro"]["resize"] = "long side to at most 1024 px"
    common = {"estimator": "OpenCV USAC_MAGSAC", "threshold_px": 2.0, "match_cap": 4096, "matchers": matchers}
    inf = float("inf")
    levels = {
        level: summarise_protocol(
            scores("micro", level, [0.3, 0.6, 0.9, 0.3, 0.6, far])
            + scores("micro", level, [3.0, 4.0, 4.0, 4.0, 4.0, inf], stage="coarse")
            + scores("micro-random", level, [inf] * 6, median_correct_px=float("nan"))
        )
        for level, far in (("easy", 0.3), ("hard", inf))
    }
    modalities = summarise_modalities(
        scores("micro", "easy", [0.3, 0.6], modality="sem")
        + scores("micro-random", "easy", [inf] * 2, modality="sem")
        + scores("micro", "easy", [0.3, 0.9, inf, inf], modality="tem")
        + scores("micro-random", "easy", [inf] * 4, modality="tem")
    )
    landmarks = {
        "tre": 7.25,
        "rtre": 0.01,
        "initial_tre": 50.0,
        "robustness": 0.9,
        "truth_tre": 6.5,
        "accuracy_px": 7.0,
    }
    real = [
        *scores("micro", "tiles", [0.3, 0.6, 20.0]),
        *scores("micro-random", "tiles", [inf] * 3),
        *scores("micro", "stains", [8.0] * 2, **landmarks),
        *scores("micro-random", "stains", [inf] * 2, **landmarks | {"tre": 50.0, "robustness": 0.0}),
    ]
    frame = {
        "command": "x",
        "commit": "0123abc",
        "seed": 0,
        "device": "cpu",
        "split": "validation",
        "date": "2026-01-01",
    }
    return {
        "evaluate": {**frame, "values": {**common, "levels": levels, "modalities": modalities}},
        "evaluate_real": {**frame, "split": "real", "values": {**common, "groups": summarise_groups(real)}},
    }


@pytest.fixture
def root(tmp_path, records) -> Path:
    (tmp_path / "results").mkdir()
    for name, record in records.items():
        (tmp_path / "results" / f"{name}.json").write_text(json.dumps(record))
    (tmp_path / "README.md").write_text("# Title\n\n<!--table:evaluate--><!--/table-->\n\nend\n")
    notes = tmp_path / "docs_obsidian" / "reference"
    notes.mkdir(parents=True)
    note = "`<!--table:evaluate-->` in code\n<!--table:evaluate_detail-->\nold\n<!--/table-->\n"
    note += "text\n<!--table:evaluate_real--><!--/table-->\n"
    (notes / "metrics.md").write_text(note)
    return tmp_path


def test_tables_are_written_between_their_markers_and_stay(root, capsys):
    assert report.main(["--root", str(root)]) == 0
    text = (root / "README.md").read_text()
    assert text.startswith("# Title\n\n<!--table:evaluate-->\n| matcher | easy | hard | s per pair |")
    assert text.endswith("<!--/table-->\n\nend\n")
    note = (root / "docs_obsidian/reference/metrics.md").read_text()
    assert "\nold\n" not in note and "| easy | micro |" in note and "tiles (3 of 3)" in note
    assert (root / report.ATTACHMENTS / "evaluation.png").is_file()
    assert note.startswith("`<!--table:evaluate-->` in code\n<!--table:evaluate_detail-->\n| level |")
    for name in ("evaluation", "evaluation_modalities", "evaluation_real"):
        assert (root / report.ATTACHMENTS / f"{name}.png").is_file()
    assert len(capsys.readouterr().out.splitlines()) == 5
    assert report.main(["--root", str(root), "--check"]) == 0
    assert report.report(root, write=True) == []


def test_the_overview_by_hand(records):
    lines = tables.overview(records["evaluate"]).splitlines()
    # errors .3 .3 .3 .6 .6 .9 of six pairs: the area up to 3 px is 1 − mean(error)/3, less the trapezoid's steps
    assert lines[2].startswith("| micro | 0.8") and "· 0 %" in lines[2] and "· 17 %" in lines[2]
    assert lines[3] == "| micro-random | 0.00 [0.00, 0.00] · 100 % | 0.00 [0.00, 0.00] · 100 % | 0.125 |"
    caption = lines[-1]
    for said in (
        "OpenCV USAC_MAGSAC, 2 px",
        "at most 4096 matches",
        "6 pairs of 3 specimens",
        "validation split",
        "0123abc",
    ):
        assert said in caption
    assert "micro: long side to at most 1024 px; micro-random: none: images as read" in caption


def test_every_table_names_estimator_threshold_resize_and_cap(records):
    for record, make in report.TABLES.values():
        if record not in records:  # (test_bench and test_reliability show theirs)
            continue
        table = make(records[record])
        for said in ("OpenCV USAC_MAGSAC", "2 px", "4096 matches", "Resize: ", "interval"):
            assert said in table


def test_stains_are_told_by_landmarks_and_what_is_not_known_by_a_dash(records):
    table = tables.real(records["evaluate_real"])
    assert "landmarks 7.2 px · 90 %" in table and "landmarks 50.0 px · 0 %" in table
    assert "stains (0 of 2)" in table
    assert "| –" in tables.detail(records["evaluate"])  # median error of untrained weights


@pytest.mark.parametrize("what", ["number", "text", "figure"])
def test_what_is_stale_is_told_and_nothing_is_written(root, what, capsys):
    report.report(root, write=True)
    readme = root / "README.md"
    if what == "number":
        path = root / "results" / "evaluate.json"
        record = json.loads(path.read_text())
        record["values"]["levels"]["easy"]["micro"]["auc_3"] -= 0.05
        path.write_text(json.dumps(record))
    elif what == "text":
        readme.write_text(readme.read_text().replace("100 %", "1 %"))
    else:
        (root / report.ATTACHMENTS / "evaluation.png").unlink()
    before = readme.read_text()
    assert report.main(["--root", str(root), "--check"]) == 1
    told = capsys.readouterr().out
    assert ("README.md is stale" in told) == (what != "figure")
    assert ("evaluation.png is stale" in told) == (what != "text")
    assert readme.read_text() == before


@pytest.mark.parametrize(
    "text, said",
    [
        ("no marker", "no place for a table"),
        ("<!--table:evaluat--><!--/table-->", "asks for the table evaluat"),
        ("<!--table:evaluate--> and no end", "not closed"),
        ("<!--table:evaluate--> <!--table:evaluate--><!--/table-->", "not closed"),
    ],
)
def test_bad_markers_are_one_clear_sentence(root, text, said):
    (root / "README.md").write_text(text)
    with pytest.raises(MicroLoFTRError, match=said):
        report.report(root, write=True)


def test_a_missing_record_is_told(root):
    (root / "results" / "evaluate.json").unlink()
    with pytest.raises(MicroLoFTRError, match=r"results/evaluate\.json"):
        report.report(root, write=False)


@pytest.mark.parametrize("part", ["levels", "modalities", "groups"])
def test_the_figures_are_the_same_each_time_and_know_their_numbers(records, tmp_path, part):
    record = records[report.FIGURES[part].record]
    for name in ("a.png", "b.png"):
        report.draw(record, part, tmp_path / name)
    first = (tmp_path / "a.png").read_bytes()
    assert first == (tmp_path / "b.png").read_bytes()
    assert report.figure_source(tmp_path / "a.png") == report.source_sha256(record["values"][part])
    with Image.open(tmp_path / "a.png") as image:
        assert set(image.info) <= {report.SOURCE_KEY, "dpi"} and image.width > 800
    assert len(first) < 200_000


def test_a_figure_shows_each_value_and_its_interval(records):
    values = records["evaluate"]["values"]
    figure = draw_scores(values["levels"], values["matchers"], "the mean corner error")
    for axis, metric in zip(figure.axes, ("auc_3", "failures"), strict=True):
        shown = {drawn.get_label(): drawn for drawn in axis.containers}
        for key, told in values["matchers"].items():
            line, _, (bars,) = shown[told["name"]]
            assert line.get_xdata() == pytest.approx(
                [values["levels"][level][key][metric] for level in values["levels"]]
            )
            ends = [segment[:, 0].tolist() for segment in bars.get_segments()]
            assert ends[1] == pytest.approx(
                [values["levels"]["hard"][key][f"{metric}_{side}"] for side in ("low", "high")]
            )
    assert [tick.get_text() for tick in figure.axes[0].get_yticklabels()] == ["easy\n6 pairs", "hard\n6 pairs"]


def test_a_figure_of_a_whole_record_is_stale_when_any_of_its_numbers_changes(root, capsys):
    record = breaking_record()
    path = root / "results" / "breaking.json"
    path.write_text(json.dumps(record))
    assert "docs_obsidian/attachments/baselines_breaking.png" in report.report(root, write=True)
    assert report.report(root, write=False) == []
    record["values"]["factors"]["noise"]["right"]["rootsift"][1] = 0.25
    path.write_text(json.dumps(record))
    assert report.main(["--root", str(root), "--check"]) == 1
    assert "baselines_breaking.png is stale" in capsys.readouterr().out


def test_a_table_of_two_records(root, records):
    first = records["evaluate_real"]
    first["values"]["pairs_sha256"] = {"real": "a"}
    more = json.loads(json.dumps(first))
    more["values"]["matchers"] = {"orb": {**more["values"]["matchers"]["micro"], "name": "orb"}}
    more["values"]["groups"] = {k: {"orb": v["micro"]} for k, v in more["values"]["groups"].items()}
    more["commit"] = "fedcba9"
    (root / "results" / "evaluate_real.json").write_text(json.dumps(first))
    (root / "results" / "baselines_real.json").write_text(json.dumps(more))
    readme = root / "README.md"
    readme.write_text(readme.read_text() + "\n<!--table:baselines_real--><!--/table-->\n")
    report.report(root, write=True)
    rows = [line.split(" | ")[0] for line in readme.read_text().splitlines() if line.startswith("| ")]
    assert rows[-2:] == ["| micro", "| orb"] and "Commit 0123abc and fedcba9." in readme.read_text()
    more["values"]["pairs_sha256"] = {"real": "b"}
    (root / "results" / "baselines_real.json").write_text(json.dumps(more))
    with pytest.raises(MicroLoFTRError, match="are of other pairs or estimators"):
        report.report(root, write=False)


def test_real_pairs_may_be_missing_and_then_have_no_figure(root):
    (root / "results" / "evaluate_real.json").unlink()
    note = root / "docs_obsidian/reference/metrics.md"
    note.write_text("nothing\n")
    assert "evaluation_real.png" not in " ".join(report.report(root, write=True))


def test_modalities_are_told_with_their_pairs(records):
    lines = tables.modalities(records["evaluate"]).splitlines()
    assert lines[0] == "| modality | micro | micro-random |"
    assert lines[2].startswith("| tem (4 pairs, 3) | 0.4") and "· 50 % |" in lines[2]
    assert lines[3].startswith("| sem (2 pairs, 2) | 0.90 [0.85, 0.93] · 0 %") and lines[3].endswith(
        "| 0.00 [0.00, 0.00] · 100 % |"
    )
