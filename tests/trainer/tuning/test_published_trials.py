"""Comparisons in docs/results.md are those of their files."""

import json
from pathlib import Path

import pytest

from benchmarks.tuned import collect
from trainer.settings import optimization

ROOT = Path(__file__).resolve().parents[3]


FILES = sorted((ROOT / "benchmarks" / "tuned").glob("*.json"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_page_has_the_table_of_the_file(path):
    results = json.loads(path.read_text(encoding="utf-8"))
    page = (ROOT / "docs" / "results.md").read_text(encoding="utf-8")
    assert not [line for line in collect.table(results) if line not in page]
    assert all(results[key] for key in collect.ORIGIN)
    assert results["plan"]["versions"]
    better = max if results["plan"]["metric"] == "auc" else min
    budgets = set()
    for name, model in results["models"].items():
        trials = model["trials"]
        values = [t["value"] for t in trials if t["state"] == "complete"]
        assert trials[model["best"]]["value"] == better(values)
        runs = [run for run in results["runs"] if run["model"] == name]
        budgets.add((len(trials), tuple(run["seed"] for run in runs)))
    assert len(budgets) == 1


def test_epsilons_of_the_norms_too():
    path = ROOT / "benchmarks" / "epsilon.json"
    runs = json.loads(path.read_text(encoding="utf-8"))["runs"]
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
    assert f"{last[1.0][0]} to {last[1e-5][0]}" in page


def test_the_default_flags_too():
    path = ROOT / "benchmarks" / "default_flags.json"
    results = json.loads(path.read_text(encoding="utf-8"))
    page = (ROOT / "docs" / "results.md").read_text(encoding="utf-8")
    assert all(results[key] for key in (*collect.ORIGIN, "versions"))

    def cell(log, model, rate, split="valid", metric="logloss", seeds=None):
        values = [
            run[split][metric]
            for run in results["runs"]
            if (run["log"], run["model"], run["learning_rate"])
            == (log, model, rate)
            and split in run
        ]
        return collect.spread(values[:seeds], 4)

    for model in ("wukong", "dcn_v2", "dlrm", "mlp"):
        rate = optimization.DENSE_RATES.get(model, 0.001)
        cells = [f"`{model}`", str(rate)]
        cells += [
            cell("interactions", model, rate, "test", metric)
            for metric in ("auc", "logloss")
        ]
        assert f"| {' | '.join(cells)} |" in page
    for rate in (0.001, 0.002, 0.003):
        cells = [str(rate)]
        cells += [
            cell(log, "wukong", rate)
            for log in ("interactions", "frappe", "shop")
        ]
        assert f"| {' | '.join(cells)} |" in page
    for rate in (0.0005, 0.001, 0.003):
        cells = [str(rate)]
        cells += [
            cell("interactions", model, rate, seeds=1)
            for model in ("dcn_v2", "dlrm", "mlp")
        ]
        assert f"| {' | '.join(cells)} |" in page


def test_the_options_of_training_too():
    path = ROOT / "benchmarks" / "options.json"
    results = json.loads(path.read_text(encoding="utf-8"))
    page = (ROOT / "docs" / "training.md").read_text(encoding="utf-8")
    assert all(results[key] for key in (*collect.ORIGIN, "versions"))
    losses: dict = {}
    for run in results["runs"]:
        loss = run["valid"]["logloss"]
        if run["model"] == "wukong":
            losses.setdefault(run["flags"], []).append(loss)
        else:
            assert f"{loss:.4f}" in page
    for flags, values in losses.items():
        name = f"`{flags}`" if flags else "none"
        seeds = ", ".join(f"{value:.4f}" for value in values)
        mean = f"{sum(values) / len(values):.4f}"
        assert f"| {name} | {seeds} | {mean} |" in page
