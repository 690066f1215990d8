"""Numbers in texts: filled from results/, stale and missing ones named, code left alone."""

import pytest

from literate.__main__ import main
from literate.errors import LiterateError
from literate.numbers import fill, look_up
from tests.literate_project import make_project


@pytest.fixture
def project(tmp_path):
    project = make_project(tmp_path)
    table = "# how it was made\nmatcher,auc,n\nmicro v1.0,0.5,12\nsift,,9\n"
    (project.results / "table.csv").write_text(table, encoding="utf-8")
    (project.results / "questions").mkdir()
    (project.results / "questions" / "Q01.json").write_text('{"values": {"0.5": {"yes": true}, "none": null}}')
    return project


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("evaluate:levels.easy.auc", "0.612"),
        ("evaluate:levels.easy.auc|.1f", "0.6"),
        ("evaluate:levels.easy.auc|%", "61%"),
        ("evaluate:levels.easy.auc|.1%", "61.2%"),
        ("evaluate:seed", "7"),
        ("evaluate:shape", "1 × 64 × 80"),
        ("evaluate:shape.-1", "80"),
        ("table.csv:micro v1.0.auc|.2f", "0.50"),
        ("table.csv:sift.n", "9"),
        ("questions/Q01:0.5.yes", "yes"),
        ("questions/Q01:none", "–"),
    ],
)
def test_keys_lead_to_values(project, key, text):
    assert look_up(key, project.results) == text


@pytest.mark.parametrize(
    ("key", "complaint"),
    [
        ("evaluate", "must read file:path"),
        ("evaluate:levels.hard.auc", "results/evaluate has no value levels.hard.auc"),
        ("evaluate:levels.easy", "names a group"),
        ("evaluate:levels.easy.auc|.2d", "does not fit"),
        ("evaluate:shape.3", "has no value"),
        ("absent:a", "there is no results/absent.json"),
        ("absent.csv:a.b", "there is no results/absent.csv"),
    ],
)
def test_keys_that_lead_nowhere_are_told(project, key, complaint):
    with pytest.raises(LiterateError, match=complaint):
        look_up(key, project.results)


def test_filling_changes_the_number_and_nothing_else(project):
    text = "a <!--n:evaluate:seed-->6<!--/n-->,\nb <!-- n:evaluate:levels.easy.auc|.2f --><!-- /n -->\n"
    filled = fill(text, project.results, "x.md")
    assert (
        filled.text == "a <!--n:evaluate:seed-->7<!--/n-->,\nb <!-- n:evaluate:levels.easy.auc|.2f -->0.61<!-- /n -->\n"
    )
    assert filled.missing == [] and len(filled.stale) == 2
    assert filled.stale[0] == "x.md:1: n:evaluate:seed says '6', its source 7"
    again = fill(filled.text, project.results, "x.md")
    assert again.text == filled.text and again.stale == []


def test_markers_in_code_are_examples(project):
    text = (
        "`<!--n:a:b-->1<!--/n-->`\n\n```html\n<!--n:a:b-->1<!--/n-->\n<!--n:a:b-->\n```\n> ~~~\n> <!--n:a:b-->\n> ~~~\n"
    )
    filled = fill(text, project.results, "x.md")
    assert filled == type(filled)(text, [], [])


@pytest.mark.parametrize(
    "text",
    [
        "<!--n:evaluate:seed-->7\n",
        "one\n<!--n:evaluate:seed-->7 <!--n:evaluate:seed-->7<!--/n-->",
        "<!--n:nothing:here-->7<!--/n-->",
        "<!--n:-->7<!--/n-->",
    ],
)
def test_broken_markers_are_missing_and_left_as_they_are(project, text):
    filled = fill(text, project.results, "x.md")
    assert filled.text == text and len(filled.missing) >= 1 and filled.missing[0].startswith("x.md:")


def test_command_fills_and_checks(project, capsys):
    root = f"--root={project.root}"
    assert main(["numbers", "--check", root]) == 2
    out, err = capsys.readouterr()
    assert out == "README.md:1: n:evaluate:levels.easy.auc says '0.61', its source 0.612\n"
    assert err.startswith("error: ") and err.count("\n") == 1
    assert "0.61<" in project.readme.read_text(encoding="utf-8")
    assert main(["numbers", root]) == 0
    assert "-->0.612<!--" in project.readme.read_text(encoding="utf-8")
    assert main(["numbers", "--check", root]) == 0
    (project.vault / "Home.md").write_text("<!--n:gone:a-->1<!--/n-->", encoding="utf-8")
    assert main(["numbers", root]) == 2
    assert "docs_obsidian/Home.md:1: n:gone:a has no source" in capsys.readouterr().out
