"""Comparisons in docs/results.md are those of their files."""

import json
from pathlib import Path

import pytest

from benchmarks.tuned import collect

ROOT = Path(__file__).resolve().parents[3]


FILES = sorted((ROOT / "benchmarks" / "tuned").glob("*.json"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_page_has_the_table_of_the_file(path):
    results = json.loads(path.read_text(encoding="utf-8"))
    page = (ROOT / "docs" / "results.md").read_text(encoding="utf-8")
    assert not [line for line in collect.table(results) if line not in page]
    better = max if results["plan"]["metric"] == "auc" else min
    budgets = set()
    for name, model in results["models"].items():
        trials = model["trials"]
        values = [t["value"] for t in trials if t["state"] == "complete"]
        assert trials[model["best"]]["value"] == better(values)
        runs = [run for run in results["runs"] if run["model"] == name]
        budgets.add((len(trials), tuple(run["seed"] for run in runs)))
    assert len(budgets) == 1


def test_the_log_of_interactions_too():
    path = ROOT / "benchmarks" / "interactions_trials.json"
    results = json.loads(path.read_text(encoding="utf-8"))
    page = (ROOT / "docs" / "results.md").read_text(encoding="utf-8")
    for name, model in results["models"].items():
        losses = [trial["valid"]["logloss"] for trial in model["trials"]]
        assert losses[model["best"]] == min(losses)
        runs = [r["test"] for r in results["runs"] if r["model"] == name]
        assert len(runs) == 3
        cells = [
            f"`{name}`",
            ", ".join(f"{loss:.4f}" for loss in losses),
            f"{model['trials'][model['best']]['learning_rate']:g}",
            collect.spread([run["auc"] for run in runs], 4),
            collect.spread([run["logloss"] for run in runs], 4),
            collect.spread([run["attained_share"] for run in runs], 3),
            f"{model['training_flop'] / 1e6:.2f}",
            f"{model['dense_parameters']:,}",
        ]
        assert f"| {' | '.join(cells)} |" in page


def test_a_longer_log_of_interactions_too():
    path = ROOT / "benchmarks" / "interactions_trials.json"
    longer = json.loads(path.read_text(encoding="utf-8"))["longer"]
    page = (ROOT / "docs" / "results.md").read_text(encoding="utf-8")
    for name, model in longer["models"].items():
        losses = {
            trial["learning_rate"]: trial["valid"]["logloss"]
            for trial in model["trials"]
        }
        runs = [run["test"] for run in model["runs"]]
        assert len(runs) == 3 and model["learning_rate"] in losses
        cells = [
            f"`{name}`",
            ", ".join(f"{rate:g}: {loss:.4f}" for rate, loss in losses.items()),
            f"{model['learning_rate']:g}",
            collect.spread([run["auc"] for run in runs], 4),
            collect.spread([run["logloss"] for run in runs], 4),
            collect.spread([run["attained_share"] for run in runs], 3),
        ]
        assert f"| {' | '.join(cells)} |" in page


def test_epsilons_of_the_norms_too():
    path = ROOT / "benchmarks" / "interactions_trials.json"
    runs = json.loads(path.read_text(encoding="utf-8"))["epsilon"]["runs"]
    page = (ROOT / "docs" / "results.md").read_text(encoding="utf-8")
    losses: dict = {}
    for run in runs:
        for point in run["valid"]:
            cell = losses.setdefault((run["model"], point["rows"] // 10**5), {})
            values = cell.setdefault(run["norm_epsilon"], [])
            values.append(f"{point['logloss']:.4f}")
    for rows in (5, 10, 20, 30):
        # Evaluations are a few rows before the round number.
        near = losses["wukong", {5: 4, 10: 9, 20: 19, 30: 29}[rows]]
        cells = [f"{rows}00,000" if rows < 10 else f"{rows / 10:.0f},000,000"]
        cells += [", ".join(near.get(e, ["not run"])) for e in (1e-5, 1.0, 3.0)]
        assert f"| {' | '.join(cells)} |" in page
    last = losses["rank_mixer", 29]
    assert f"{last[1.0][0]} in place of {last[1e-5][0]}" in page
