"""The ladder of docs/scaling_law.md is that of its file of results."""

import json
import re
import tomllib
from pathlib import Path

import pytest

from trainer.scaling_law import analysis, results_file, tables
from trainer.settings.scaling import Scaling

ROOT = Path(__file__).resolve().parents[3]
LADDER = ROOT / "benchmarks" / "ladder.json"
SWEEPS = {"wukong": "sweeps", "dcn_v2": "cross_depth"}


def test_the_page_has_the_tables_of_the_file():
    study, searches, runs = results_file.merged([str(LADDER)])
    assert {run.rows for run in runs} == {study["rows"]}
    analyses = analysis.analyse(runs, Scaling(output="-").resamples)
    page = (ROOT / "docs" / "scaling_law.md").read_text(encoding="utf-8")
    made = tables.markdown(study, searches, runs, analyses)
    sections = re.split(r"^## ", made, flags=re.M)
    rows = [
        line
        for section in sections
        if not re.match("(Frontier|Rows) of (?!wukong)", section)
        for line in section.splitlines()
        if line.startswith("|")
    ]
    assert len(rows) > 30
    assert not [row for row in rows if row not in page]


@pytest.mark.parametrize("model, name", SWEEPS.items())
def test_the_page_has_the_differences_of_the_sweeps(model, name):
    path = ROOT / "benchmarks" / f"{name}.json"
    study, searches, runs = results_file.merged([str(path)])
    (found,) = analysis.analyse(runs, Scaling(output="-").resamples)
    made = tables.markdown(study, searches, runs, [found])
    _, _, part = made.partition(f"## Differences from base of {model}")
    rows = [row for row in part.splitlines() if row.startswith("|")]
    rungs = tomllib.loads(path.with_suffix(".toml").read_text("utf-8"))
    assert len(rows) == len(rungs[model]) + 1  # less base, more heads
    page = (ROOT / "docs" / "scaling_law.md").read_text(encoding="utf-8")
    assert "\n".join(rows) in page


def test_make_trains_the_ladder_of_the_file():
    content = json.loads(LADDER.read_text(encoding="utf-8"))
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    recipe = makefile.partition("\nreproduce-scaling:")[2].partition("\n\n")[0]
    given = set(recipe.split())
    study = content["study"]
    rates = ",".join(f"{rate:g}" for rate in study["learning_rates"])
    wanted = {
        *(f"--learning_rates={rates}", f"--evaluations={study['evaluations']}"),
        f"--search_rows={study['search_rows']}",
        *study["flags"].values(),
    }
    assert wanted <= given
