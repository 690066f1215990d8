"""Answers become records in a build alone; each fault of a record, note or cell is found, and the project has none."""

import json
import shutil

import numpy as np
import pytest
import torch

from literate import build as module
from literate.__main__ import main
from literate.build import build
from literate.check import check_all
from literate.constants import answers, constants
from literate.errors import LiterateError, NotebookFailed
from literate.numbers import escape, fill, fill_all
from literate.pairs import all_pairs, read_notebook
from literate.project import find_project
from literate.questions import RECORDS_VARIABLE, answer
from literate.records import check_questions
from literate.run import run_notebook
from tests.literate_project import SCRIPT, make_project

SENTENCE = "2*{value} | {factor:.1f}*n [px] on {n} pairs, {low} to {high}: `a*b`, _so_ and a_b."
CELL = """# %% [markdown]
# ## The answer

# %%
import math

from literate.questions import answer

measured = [math.fsum([threshold] * count), math.ldexp(5, -2)]
answer("Q28", SENTENCE, value=max(measured), unit="px", interval=(min(measured), 2 * max(measured)), n=len(measured),
       more={"factor": math.fsum([count]) / 2, "kind": "linear"})
""".replace("SENTENCE", repr(SENTENCE))
SAID = "2*1.25 | 1.5*n [px] on 2 pairs, 0.6 to 2.5: `a*b`, _so_ and a_b."
MARKED = "<!--n:questions/Q28:answer-->{}<!--/n-->"
FILLED = r"2\*1.25 \| 1.5\*n \[px\] on 2 pairs, 0.6 to 2.5: `a*b`, \_so\_ and a_b."
NOTE = f"---\nid: Q28\nnotebook: 00_small\n---\n# How?\n\n{MARKED.format('')}\n"
NAME = "docs_obsidian/questions/Q28-how.md"
RECORD = "results/questions/Q28.json"


def test_the_project_has_no_fault():
    assert check_questions(find_project()) == []


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A project whose one notebook answers Q28, built, with its note filled in."""
    project = make_project(
        tmp_path_factory.mktemp("questions"), SCRIPT.replace('# %% tags=["timing"]', f"{CELL}\n# %%")
    )
    (project.vault / "questions").mkdir()
    (project.vault / "questions" / "questions.md").write_text("Here: [[Q28-how]].\n")
    (project.vault / "questions" / "Q28-how.md").write_text(NOTE)
    build(all_pairs(project)[0], project)
    fill_all(project, write=True)
    return project


@pytest.fixture
def project(built, tmp_path):
    """The same, to plant a fault in."""
    shutil.copytree(built.root, tmp_path / "project")
    return find_project(tmp_path / "project")


def edit(project, name, before, after):
    path = project.root / name
    text = path.read_text(encoding="utf-8")
    assert before in text
    path.write_text(text.replace(before, after), encoding="utf-8")


def test_a_build_leaves_a_record_and_the_note_is_filled_from_it(built):
    record = json.loads((built.root / RECORD).read_text())
    assert record.pop("source") and list(record) == [
        "id",
        "answer",
        "value",
        "unit",
        "interval",
        "n",
        "command",
        "more",
    ]
    assert record == {
        "id": "Q28", "answer": SAID, "value": 1.25, "unit": "px", "interval": [pytest.approx(0.6), 2.5], "n": 2,
        "command": "python -m literate build 00_small", "more": {"factor": 1.5, "kind": "linear"},
    }  # fmt: skip
    outputs = [
        o.text for c in read_notebook(all_pairs(built)[0].notebook).cells for o in c.get("outputs", []) if "text" in o
    ]
    assert SAID + "\n" in outputs
    assert MARKED.format(FILLED) in (built.root / NAME).read_text()
    assert check_questions(built) == [] and check_all(built) == []
    assert main(["vault", "--check", f"--root={built.root}"]) == 0


def test_other_runs_write_nothing(project, monkeypatch):
    (project.root / RECORD).unlink()
    monkeypatch.setenv(RECORDS_VARIABLE, str(project.questions))
    run = run_notebook(project, "00_small", {"count": 9}, cwd=project.root)
    assert any("4.5*n" in output.get("text", "") for cell in run.cells for output in cell.get("outputs", []))
    monkeypatch.delenv(RECORDS_VARIABLE)
    answer("Q28", "{value}", value=1)
    assert list(project.questions.iterdir()) == []


def test_a_build_that_fails_leaves_the_old_record(project, monkeypatch):
    def stop(notebook, *, cwd, environment):
        monkeypatch.setenv(RECORDS_VARIABLE, environment[RECORDS_VARIABLE])
        answer("Q28", "{value}", value=2)
        raise NotebookFailed("Cell [9] of the notebook stopped.")

    before = (project.root / RECORD).read_bytes()
    monkeypatch.setattr(module, "execute", stop)
    with pytest.raises(NotebookFailed, match=r"00_small: Cell \[9\]"):
        build(all_pairs(project)[0], project)
    assert (project.root / RECORD).read_bytes() == before


PLANTED = [
    (NAME, "Q28:answer-->", "Q28:value-->", f"{NAME}: below its title it must begin with <!--n:questions/Q28:answer-"),
    (NAME, "# How?\n\n", "# How?\n\nSo. ", f"{NAME}: below its title it must begin with"),
    (NAME, "1.25", "1.26", f"{NAME}: it says other than {RECORD}; fill it in by: python -m literate vault"),
    (NAME, "id: Q28", "id: Q27", f"{NAME}: its front matter must name the id that its file name begins with"),
    (NAME, "id: Q28", "id: 28", f"{NAME}: its front matter must name the id"),
    (NAME, "00_small", "7", f"{NAME}: its front matter must name the whole notebook"),
    (NAME, "00_small", "01_gone", f"{NAME}: there is no notebook 01_gone"),
    (NAME, "notebook: 00_small\n", "", f"{RECORD} exists, but Q28-how.md names no notebook"),
    ("docs_obsidian/questions/questions.md", "Q28", "Q29", f"{NAME}: docs_obsidian/questions/questions.md does not"),
    (RECORD, '"value": 1.25', '"value": NaN', f"{RECORD} is malformed: it is no JSON: NaN is no number"),
    (RECORD, '"value": 1.25', '"value": null', f"{RECORD} is malformed: its value must be one number or word"),
    (RECORD, '"value": 1.25', '"values": 1.25', f"{RECORD} is malformed: it must have the keys id, answer, value"),
    (RECORD, '"n": 2', '"n": 0', f"{RECORD} is malformed: its n must be a whole number above 0"),
    (RECORD, "2.5\n", "0.1\n", f"{RECORD} is malformed: its interval must be two numbers, the lower first"),
    (RECORD, '"unit": "px"', '"unit": 3', f"{RECORD} is malformed: its unit must be a text"),
    (RECORD, '"id": "Q28"', '"id": "Q29"', f"{RECORD} is malformed: it is about Q29"),
    (RECORD, "{", "", f"{RECORD} is malformed: it is no JSON"),
    (RECORD, "build 00_small", "build 01_gone", f"{RECORD} was made by `python -m literate build 01_gone`, but Q28"),
    ("notebooks/00_small.py", "(5, -2)", "(5, -1)", f"{RECORD} is stale: the code of 00_small.py was changed"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "before", "after", "fault"), PLANTED)
def test_a_planted_fault_is_found(project, name, before, after, fault):
    edit(project, name, before, after)
    found = check_questions(project)
    assert any(line.startswith(fault) for line in found), found
    assert all("\n" not in line for line in found) and [line for line in check_all(project) if line in found] == found


def test_text_between_the_cells_may_change(project):
    edit(project, "notebooks/00_small.py", "# ## The answer", "# ## What came out")
    assert check_questions(project) == []


def test_missing_parts_are_found(project):
    note, record = project.root / NAME, project.root / RECORD
    kept = record.read_bytes()
    record.unlink()
    assert check_questions(project) == [f"{RECORD} is missing; make it with: python -m literate build 00_small"]
    record.write_bytes(kept)
    (note.parent / "Q28-twice.md").write_text(NOTE)
    assert any(line.endswith("Q28-twice.md: Q28-how.md is a note on Q28 too") for line in check_questions(project))
    (note.parent / "Q28-twice.md").unlink()
    note.unlink()
    assert check_questions(project) == [f"{RECORD} has no note in docs_obsidian/questions"]
    assert main(["check", f"--root={project.root}"]) == 2 == main(["vault", f"--root={project.root}"])


@pytest.mark.parametrize(
    ("before", "after", "fault"),
    [
        ("value=max(measured)", "value=1.25", "the answer to Q28 is constant: value is typed in"),
        (
            "value=max(measured)",
            "value=max(0.5, -threshold * count)",
            "the answer to Q28 is constant: value is typed in",
        ),
        ("value=max(measured)", "**dict(value=1.25)", "the answer to Q28 is constant: value is typed in"),
        ("math.fsum([count]) / 2", "1.5", "the answer to Q28 is constant: more['factor'] is typed in"),
        ("(min(measured), 2 * max(measured))", "(0.6, 2.5)", "the answer to Q28 is constant: interval is typed in"),
        ('answer("Q28"', 'answer("Q29"', 'it has 0 calls answer("Q28", …), not one'),
        (
            "\nanswer(",
            '\nanswer("Q28", "{value}", value=max(measured))\nanswer(',
            'it has 2 calls answer("Q28", …), not',
        ),
        ("\nanswer(", "\nif\nanswer(", "its code is no Python"),
    ],
)
def test_a_cell_that_does_not_measure_is_found(project, before, after, fault):
    edit(project, "notebooks/00_small.py", before, after)
    found = check_questions(project)
    assert found[0].startswith(f"00_small.py: {fault}"), found
    assert found[-1].startswith(f"{RECORD} is stale") or "no Python" in fault


@pytest.mark.parametrize(
    ("code", "typed"),
    [
        ("value=0.5", ["value"]),
        ("value=-(1 / 3)", ["value"]),
        ("value=a", ["value"]),
        ("value=b[0]", ["value"]),
        ("value=f'{a}'", ["value"]),
        ("value=len(b)", ["value"]),
        ("value=np.float64(0.5)", ["value"]),
        ("value=torch.tensor(a).item()", ["value"]),
        ("value=np.array([c]).item()", []),
        ("value=c + 1, interval=None, n=7", []),
        ("value=d", []),
        ("value=e[0]", []),
        ("value=len(g)", []),
        ("value=np.mean(b)", []),
        ("value=h", []),
        ("value=k", ["value"]),
        ("value=c, interval=[a, 2]", ["interval"]),
        ("value=c, more={'x': a, 'y': c, 'z': 'word'}", ["more['x']"]),
        ("value=c, more=dict(x=1, y=c)", ["more['x']"]),
        ("value=c, more={**m, 'y': c}", ["more['x']"]),
        ("value=c, more=m | {'y': [c, 2]}", ["more['x']"]),
        ("value=c, more={'y': [1, 2]}", ["more['y']"]),
    ],
)
def test_what_is_typed_and_what_is_measured(code, typed):
    source = (
        "import numpy as np\na = 3\nb = [1, a]\nc = np.ones(3).sum()\nd = 0\nd += c\ne = [0]\ne[0] = c\n"
        f"g = []\ng.append(c)\nfor h in b:\n    pass\ni, k = c, 2\nm = {{'x': 1}}\nanswer('Q01', 'text', {code})"
    )
    (call,) = answers(source)["Q01"]
    assert constants(call, source) == typed


def test_numbers_of_numpy_and_torch_become_plain(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv(RECORDS_VARIABLE, str(tmp_path))
    more = {"sizes": np.array([1, 2]), "ratio": torch.tensor(2.0, requires_grad=True), "flag": np.bool_(True)}
    answer("Q05", " {value}\n at {sizes}, {ratio:.2f}, {flag}, {n} ", value=np.float32(0.25), n=np.int64(3), more=more)
    assert capsys.readouterr().out == "0.25 at 1 × 2, 2.00, yes, 3\n"
    record = json.loads((tmp_path / "Q05.json").read_text())
    assert record["more"] == {"sizes": [1, 2], "ratio": 2.0, "flag": True} and (record["value"], record["n"]) == (
        0.25,
        3,
    )


@pytest.mark.parametrize(
    ("id", "sentence", "given", "complaint"),
    [
        ("28", "{value}", {"value": 1}, "A question has an id such as Q07, not '28'"),
        ("Q01", "It is one.", {"value": 1}, "The sentence of Q01 must have a field such as {value}"),
        ("Q01", "{values}", {"value": 1}, r"unknown field \{values\}; there are: value, low, high, n, unit"),
        ("Q01", "{value", {"value": 1}, "The sentence of Q01 cannot be filled in: expected '}'"),
        ("Q01", "{value:.2d}", {"value": 1.5}, "does not fit the value 1.5"),
        ("Q01", "{value}", {"value": None}, "its value must be one number or word"),
        ("Q01", "{value}", {"value": [1, 2]}, "its value must be one number or word"),
        ("Q01", "{value}", {"value": 1, "interval": (2, 1)}, "its interval must be two numbers, the lower first"),
        ("Q01", "{value}", {"value": 1, "interval": (1, 2, 3)}, "its interval must be two numbers, the lower first"),
        ("Q01", "{value}", {"value": 1, "n": 0}, "its n must be a whole number above 0"),
        ("Q01", "{value}", {"value": 1, "more": {"n": 2}}, "The name n in more of Q01 already means something else"),
        ("Q01", "{value}", {"value": 1, "more": {"a": object()}}, "more of Q01 does not: object is not a plain value"),
    ],
)
def test_an_answer_that_cannot_be_kept_is_refused_in_every_run(id, sentence, given, complaint):
    with pytest.raises(LiterateError, match=complaint):
        answer(id, sentence, **given)


def test_settings_fill_the_sentence_and_are_not_kept(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("LITERATE_RECORDS", str(tmp_path))
    answer("Q01", "{value} px at a border of {border}", value=0.5, more={"share": 0.1}, settings={"border": 2})
    assert capsys.readouterr().out == "0.5 px at a border of 2\n"
    assert json.loads((tmp_path / "Q01.json").read_text())["more"] == {"share": 0.1}
    call = answers("answer('Q01', '{border}', value=measured(), settings={'border': 2})")["Q01"][0]
    assert constants(call, "") == []
    for taken in ("value", "share"):
        with pytest.raises(LiterateError, match=f"The name {taken} in settings of Q01 already means something else"):
            answer("Q01", "{value}", value=0.5, more={"share": 0.1}, settings={taken: 2})


def test_what_could_not_be_measured_is_shown_but_never_kept(monkeypatch, tmp_path, capsys):
    """With other parameters there may be nothing to measure: the notebook runs to its end, no record is written."""
    nothing = {"value": float("nan"), "interval": (float("nan"), 1.0), "n": 3, "more": {"share": float("inf")}}
    answer("Q01", "{value:.2f} px ({low} to {high}), {share:%} of {n}", **nothing)
    assert capsys.readouterr().out == "– px (– to 1), – of 3\n"
    monkeypatch.setenv("LITERATE_RECORDS", str(tmp_path))
    with pytest.raises(LiterateError, match="the value of Q01 does not: Out of range float"):
        answer("Q01", "{value}", **nothing)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a*b*c", r"a\*b\*c"),
        ("a | b", r"a \| b"),
        ("`a*b|c` * d", r"`a*b|c` \* d"),
        ("_a_ b_c", r"\_a\_ b_c"),
        ("a < b <b>", r"a < b \<b>"),
        ("[x](y) ~z~ $v$ \\", r"\[x\](y) \~z\~ \$v\$ \\"),
        ("two\n\nlines", "two lines"),
        ("1.5 px (3 %)", "1.5 px (3 %)"),
    ],
)
def test_a_text_between_markers_reads_as_it_stands(text, shown):
    assert escape(text, "key") == shown


def test_a_format_in_a_table_is_written_with_an_escaped_bar(built):
    row = r"| mean | <!--n:questions/Q28:value\|.1f-->1.2<!--/n--> |"
    assert fill(row, built.results, "x.md").stale == []
    plain = fill("a\n" + row.replace("\\|", "|"), built.results, "x.md")
    assert plain.missing == ["x.md:2: the | of n:questions/Q28:value|.1f would split its cell of the table; write \\|"]
    assert fill(row[2:].replace("\\|", "|"), built.results, "x.md").missing == []


def test_a_text_that_would_close_its_marker_is_refused():
    with pytest.raises(LiterateError, match="the text of n:key holds a comment"):
        escape("so <!--/n--> on", "key")
