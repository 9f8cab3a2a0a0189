"""The comparison on Frappe in docs/data.md is that of its file."""

import json
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]


def test_the_page_has_the_figures_of_the_file():
    path = ROOT / "benchmarks" / "frappe_trials.json"
    results = json.loads(path.read_text(encoding="utf-8"))
    page = (ROOT / "docs" / "data.md").read_text(encoding="utf-8")
    for name, model in results["models"].items():
        trials = model["trials"]
        best = trials[model["best"]]
        assert best == max(trials, key=lambda trial: trial["value"])
        cells = [
            f"`{name}`",
            ", ".join(f"{trial['value']:.4f}" for trial in trials),
            f"{best['logloss']:.3f}",
            f"{best['parameters']:,}",
            f"{best['training_flop'] / 1e6:.2f}",
        ]
        assert f"| {' | '.join(cells)} |" in page
    counts = {len(model["trials"]) for model in results["models"].values()}
    assert len(counts) == 1  # equal budgets
    for pilot in results["pilots"]:
        if pilot["model"] == "mlp":
            cells = [
                f"{pilot['table_initial_scale']:g}",
                f"{pilot['table_learning_rate']:g}",
                f"{pilot['embedding_l2']:g}",
                f"{pilot['valid_auc'][-1]:.3f}",
            ]
            assert f"| {' | '.join(cells)} |" in page
