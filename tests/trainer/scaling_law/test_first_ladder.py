"""The ladder of docs/scaling_law.md is that of its file of results."""

from pathlib import Path

import numpy as np

from trainer.scaling_law import records

ROOT = Path(__file__).resolve().parents[3]


def test_the_page_has_the_figures_of_the_file():
    path = ROOT / "benchmarks" / "first_ladder.json"
    study, _, runs = records.read(str(path))
    page = (ROOT / "docs" / "scaling_law.md").read_text(encoding="utf-8")
    assert {run.rows for run in runs} == {study["rows"]}
    for mine in records.by_model(runs).values():
        for seeds in records.by_rung(mine):
            one = seeds[0]
            cells = [
                one.model,
                f"{one.training_flop / 1e6:.2f}",
                f"{one.dense_parameters:,}",
                f"{one.learning_rate:g}" + " (end)" * one.at_edge,
                ", ".join(f"{run.auc:.3f}" for run in seeds),
                ", ".join(f"{run.excess:.4f}" for run in seeds),
                f"{np.mean([run.seconds for run in seeds]):.0f}",
            ]
            assert f"| {' | '.join(cells)} |" in page
