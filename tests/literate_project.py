"""A small project for the tests of lib/literate: one notebook with parameters, a figure, a timing and a print."""

from pathlib import Path

from literate.project import Project

SCRIPT = """# %% [markdown]
# # Does it run?

# %% tags=["parameters"]
threshold = 0.2
count = 3
word = "cell"
sizes = [1, 2]
um_per_px: float | None = None

# %%
from literate.parameters import check_parameters

check_parameters("00_small", globals())

# %%
print(f"{word}: {count * threshold:.2f}")
print(um_per_px, sizes)

# %% tags=["figure:bar"]
import matplotlib.pyplot as plt

figure = plt.figure(figsize=(1, 1))
figure.gca().plot([0, count]);

# %% tags=["timing"]
import time

print(time.time())

# %% [markdown]
# Yes.
"""


def make_project(root: Path, script: str = SCRIPT, name: str = "00_small") -> Project:
    """A project at `root` with one script, a README, a vault of one note and one result."""
    project = Project(root)
    for folder in (project.notebooks, project.attachments, project.results):
        folder.mkdir(parents=True)
    (project.notebooks / f"{name}.py").write_text(script, encoding="utf-8")
    project.readme.write_text("AUC <!--n:evaluate:levels.easy.auc-->0.61<!--/n-->\n", encoding="utf-8")
    (project.vault / "Home.md").write_text("# Home\n\nThe vault begins here.\n", encoding="utf-8")
    result = '{"seed": 7, "values": {"levels": {"easy": {"auc": 0.6123}}, "shape": [1, 64, 80]}}'
    (project.results / "evaluate.json").write_text(result, encoding="utf-8")
    return project
