"""The vault as it is holds, its numbers and README's are those of results/, and each check finds a planted fault."""

import pytest

from literate.__main__ import main
from literate.numbers import fill_all
from literate.project import find_project
from literate.vault import check_vault, first_sentence
from tests.literate_project import make_project


def test_the_vault_holds():
    assert check_vault(find_project().vault) == []


def test_the_numbers_are_those_of_the_results():
    assert fill_all(find_project(), write=False) == ([], [])


@pytest.fixture
def vault(tmp_path):
    """A vault of three notes without a fault."""
    vault = make_project(tmp_path).vault
    notes = {
        "Home.md": "---\ntags: [start]\naliases:\n  - Begin\ndone: true\n---\n# Home\n\nIt begins here. "
        "See [[Frames#Pixel frame|frames]], [[concepts/Frames]], [[#Home]], ![[bar.png]], [the code](../README.md#top), [kornia](https://kornia.org).\n"
        "`[[not a link]]`\n\n```text\n[[nor this]] [x](nowhere.md)\n```\n",
        "concepts/Frames.md": "---\ndone: false\n---\n<!-- about frames -->\n**The centre** of the first pixel is 0."
        " More.\n\n## Pixel frame\n\n| a |\n|---|\n| [[Home\\|home]] |\n",
        "templates/Note.md": "# {{title}}\n\n- [[{{link}}]]\n",
    }
    for name, text in notes.items():
        (vault / name).parent.mkdir(exist_ok=True)
        (vault / name).write_text(text, encoding="utf-8")
    (vault / "attachments" / "bar.png").write_bytes(b"png")
    (vault / ".obsidian").mkdir()
    (vault / ".obsidian" / "Home.md").write_text("[[nowhere]]")
    return vault


def test_a_sound_vault_has_no_fault(vault):
    assert check_vault(vault) == []


PLANTED = [
    ("a/Home.md", "A sentence.", "a/Home.md: Home.md has the same name"),
    ("a/home.md", "A sentence.", "a/home.md: Home.md has the same name"),
    ("A: b.md", "A sentence.", "A: b.md: a name may not hold any of # | ^ : %% [[ ]]"),
    ("C#.md", "A sentence.", "C#.md: a name may not hold"),
    ("attachments/50%%.png", "", "attachments/50%%.png: a name may not hold"),
    ("X.md", "See [[Nowhere]].", "X.md: the link [[Nowhere]] leads nowhere"),
    ("X.md", "See ![[gone.png]].", "X.md: the link [[gone.png]] leads nowhere"),
    ("X.md", "See [[Frames#Gone]].", "X.md: the link [[Frames#Gone]] names a heading that is not there"),
    ("X.md", "See [[#Gone]].", "X.md: the link [[#Gone]] names a heading that is not there"),
    ("X.md", "See [it](gone.md).", "X.md: the link (gone.md) leads nowhere"),
    ("X.md", "See ![it](<attachments/gone.png>).", "X.md: the link (attachments/gone.png) leads nowhere"),
    ("X.md", "---\na:\n  b: 1\n---\nA sentence.", "X.md: the front matter key a is nested; it must be flat"),
    ("X.md", "---\na: [[1], 2]\n---\nA sentence.", "X.md: the front matter key a is nested; it must be flat"),
    ("X.md", "---\na: [1\n---\nA sentence.", "X.md: its front matter is no YAML"),
    ("X.md", "---\n- a\n---\nA sentence.", "X.md: its front matter must be lines of key: value"),
    ("X.md", "---\ndone: maybe\n---\nA sentence.",
     "the front matter key done has several types: bool in Home.md, str in X.md"),
    ("X.md", "# Title\n", "X.md: it does not begin with a sentence"),
    ("X.md", "# Title\n\n- a list\n", "X.md: it does not begin with a sentence"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "text", "fault"), PLANTED)
def test_a_planted_fault_is_found(vault, name, text, fault):
    (vault / name).parent.mkdir(exist_ok=True)
    (vault / name).write_text(text, encoding="utf-8")
    (found,) = check_vault(vault)
    assert found.startswith(fault)


def test_an_empty_vault_is_a_fault(tmp_path):
    assert check_vault(tmp_path) == [f"{tmp_path.name} holds no notes"]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("# A\n\nYes, by 0.3 px. More.", "Yes, by 0.3 px."),
        ("---\na: 1\n---\n\n# A\nIt is\nso! And", "It is so!"),
        ("*Perhaps.*", "*Perhaps.*"),
        ("<!--n:a:b-->0.6<!--/n--> px is the error.", "0.6 px is the error."),
        ("[[Home]] says so.", "[[Home]] says so."),
        ("![[a.png]]\n\nLate.", ""),
        ("> [!NOTE]\n> a", ""),
        ("| a |\n|---|", ""),
        ("1. one", ""),
        ("```python\nx\n```", ""),
        ("…", ""),
        ("", ""),
    ],
)
def test_first_sentences(text, sentence):
    assert first_sentence(text) == sentence


def test_command_fills_and_checks(vault, capsys):
    root = f"--root={vault.parent}"
    assert main(["vault", "--check", root]) == 2
    out, err = capsys.readouterr()
    assert (
        out.startswith("README.md:1: n:evaluate:levels.easy.auc says '0.61'")
        and err == "error: Faults in the vault: 1.\n"
    )
    assert main(["vault", root]) == main(["vault", "--check", root]) == 0
    assert capsys.readouterr().out == 2 * "Notes in order: 3.\n"
    (vault / "X.md").write_text("See [[Nowhere]].")
    assert main(["vault", root]) == 2
