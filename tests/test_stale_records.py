"""Records of other weights than those shipped are told."""

import json
import subprocess

import pytest

from microloftr.evaluation import report, stale_records
from microloftr.evaluation.stale_records import named_weights, other_code, other_weights, shipped_sha256, uncommitted


@pytest.fixture
def results(tmp_path, monkeypatch):
    monkeypatch.setattr(stale_records, "shipped_sha256", {"micro": "aaaa", "one_conv": "bbbb"}.__getitem__)
    (tmp_path / "results").mkdir()
    return tmp_path / "results"


def write(results, name, values, commit="unknown"):
    record = {"command": f"python -m microloftr {name}", "commit": commit, "values": values}
    (results / f"{name}.json").write_text(json.dumps(record))


def test_weights_are_found_wherever_they_stand():
    values = {
        "matchers": {
            "micro": {"name": "micro", "weights_sha256": "1"},
            "micro_zeros": {"name": "micro-zeros", "weights_sha256": "2"},
            "micro_random": {"name": "micro-random", "weights_sha256": "3"},
            "rootsift": {"name": "rootsift", "weights_sha256": None},
        },
        "runs": [{"one_conv": {"weights_sha256": "4"}}],
    }
    assert list(named_weights(values)) == [("micro", "1"), ("micro", "2"), ("one_conv", "4")]


def test_weights_are_named_by_the_matcher_beside_them_at_any_depth(results):
    assert list(named_weights({"matcher": "micro", "weights_sha256": "1"})) == [("micro", "1")]  # as stages keeps them
    deep = {"parts": [{"judge": {"matcher": "one_conv", "weights_sha256": "2"}}]}
    assert list(named_weights(deep)) == [("one_conv", "2")]
    assert list(named_weights({"matcher": {"name": "micro"}, "micro": {"weights_sha256": "3"}})) == [("micro", "3")]
    write(results, "stages", {"matcher": "micro", "weights_sha256": "cccc"})
    write(results, "waterfall", {"micro": {"weights_sha256": "dddd"}, "probes": {}})
    assert [line.split(":")[0] for line in other_weights(results)] == ["results/stages.json", "results/waterfall.json"]


def test_one_fresh_hash_does_not_hide_a_stale_one(results):
    both = {"one": {"name": "micro", "weights_sha256": "aaaa"}, "other": {"name": "micro", "weights_sha256": "cccc"}}
    for order in (both, dict(reversed(both.items()))):
        write(results, "breaking", {"matchers": order})
        assert len(other_weights(results)) == 1


def test_records_of_uncommitted_code_are_named(results, monkeypatch, capsys):
    write(results, "stages", {}, "0123abc-dirty")
    write(results, "bench", {}, "0123abc")
    assert uncommitted(results) == ["stages"]
    monkeypatch.setattr(report, "report", lambda root, write: [])
    assert report.main(["--root", str(results.parent), "--check"]) == 0
    assert "not committed" in (line := capsys.readouterr().out.splitlines()[-1]) and line.endswith(": stages")


def test_a_record_of_other_weights_is_one_line(results):
    write(results, "evaluate", {"matchers": {"micro": {"name": "micro", "weights_sha256": "aaaa"}}})
    assert other_weights(results) == []
    write(results, "stages", {"matchers": {"micro": {"name": "micro", "weights_sha256": "cccc"}}})
    write(results, "evaluate_first", {"matchers": {"micro": {"name": "micro", "weights_sha256": "dddd"}}})
    (line,) = other_weights(results)
    told = "results/stages.json: micro was measured with other weights (cccc) than those shipped (aaaa)"
    assert line.startswith(told)
    assert line.endswith("Again: python -m microloftr stages")


def git(root, *arguments) -> str:
    identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
    done = subprocess.run(["git", *identity, *arguments], cwd=root, check=True, capture_output=True, text=True)
    return done.stdout.strip()


def test_a_record_that_tells_no_hash_is_judged_by_its_commit(results):
    root = results.parent
    weights = root / "lib" / "microloftr" / "weights" / "micro.safetensors"
    weights.parent.mkdir(parents=True)
    git(root, "init", "-q")
    commits = []
    for step, contents in enumerate(("old", "old", "new", "new")):
        weights.write_text(contents)
        (root / "step").write_text(str(step))
        git(root, "add", "-A")
        git(root, "commit", "-qm", str(step))
        commits.append(git(root, "rev-parse", "HEAD")[:12])
    told = {}
    for name in (*commits, *(f"{one}-dirty" for one in commits), "unknown", "0" * 12):
        write(results, "finetune", {"pairs": 1}, name)
        told[name] = len(other_weights(results))
    before, just_before, with_them, after = commits
    assert told == {
        before: 1,
        just_before: 1,
        with_them: 0,
        after: 0,
        f"{before}-dirty": 1,
        f"{just_before}-dirty": 0,
        f"{with_them}-dirty": 0,
        f"{after}-dirty": 0,
        "unknown": 0,
        "0" * 12: 0,
    }  # fmt: skip  (uncommitted work on the commit just before may have had the new weights)
    write(results, "shapes", {"pairs": 1}, before)  # a record that rests on no weights
    write(results, "finetune", {"pairs": 1}, after)
    assert other_weights(results) == []
    for name in ("shrinking", "ablations", "architecture", "waterfall"):  # they rest on micro, whoever else they name
        write(results, name, {"entries": {"base": {"weights_sha256": "eeee"}}}, before)
        assert [line.split(":")[0] for line in other_weights(results)] == [f"results/{name}.json"]
        write(results, name, {"entries": {"whole": {"weights_sha256": "aaaa"}}}, before)  # the shipped ones are told
        assert other_weights(results) == []


def test_a_record_of_an_older_matcher_is_named(results, monkeypatch, capsys):
    root, code = results.parent, results.parent / "lib" / "matching.py"
    code.parent.mkdir()
    monkeypatch.setattr(stale_records, "PACKAGE", code.parent)
    monkeypatch.setattr(stale_records, "imported_files", lambda start: frozenset({str(code), "/elsewhere.py"}))
    git(root, "init", "-q")
    commits = []
    for text in ("old", "new"):
        code.write_text(text)
        git(root, "add", "lib")
        git(root, "commit", "-qm", text)
        commits.append(git(root, "rev-parse", "HEAD")[:12])
    micro = {"name": "micro", "weights_sha256": "aaaa"}
    for name, commit in zip(("baselines", "evaluate"), commits, strict=True):
        write(results, name, {"matchers": {"micro": micro | {"commit": f"{commit}-dirty"}}}, commits[1])
    write(results, "worst", {}, commits[0])  # it names no matcher
    write(results, "bench", {}, "unknown")
    write(results, "shapes", {"pairs": 1}, commits[0])  # no matcher decides it
    assert other_code(results) == ["baselines", "worst"]
    monkeypatch.setattr(report, "report", lambda root, write: [])
    assert report.main(["--root", str(root), "--check"]) == 0
    assert "code of the Matcher last changed: baselines, worst" in capsys.readouterr().out


def test_the_report_notes_it_and_fails_for_nothing_else(results, monkeypatch, capsys):
    monkeypatch.setattr(report, "report", lambda root, write: [])
    write(results, "stages", {"matchers": {"micro": {"name": "micro", "weights_sha256": "cccc"}}})
    assert report.main(["--root", str(results.parent), "--check"]) == 0
    out = capsys.readouterr().out.splitlines()
    assert out[0] == "Tables and figures are up to date." and out[1].startswith("note: results/stages.json: micro was")


def test_the_shipped_weights_have_the_hash_that_the_records_tell():
    digest = shipped_sha256("micro")
    assert len(digest) == 64 and digest != shipped_sha256("one_conv")
    assert digest in (report.results_folder() / "evaluate.json").read_text()
