"""A ladder of real runs: a rung on 2,048 rows, and its search."""

import pytest

from tests.trainer.scaling_law.command import program, results

pytestmark = pytest.mark.full
BASE = (
    *("--synthetic", "--synthetic_log=interactions", "--batch_size=256"),
    *("--synthetic_train_rows=2048", "--synthetic_valid_rows=512"),
    "--synthetic_test_rows=512",
)


@pytest.mark.parametrize("search_rows", [512, 2048])
def test_real_runs_are_recorded(search_rows, tmp_path):
    code = program(
        f"--output={tmp_path / 'ladder'}",
        "--rungs=0.1",
        "--seeds=1",
        "--learning_rates=0.001,0.002",
        f"--search_rows={search_rows}",
        "--evaluations=2",
        "--resamples=100",
        "--noplots",
        base=BASE,
    )
    assert code == 0
    content = results(tmp_path)
    assert [search["rows"] for search in content["searches"]] == [
        search_rows
    ] * 2
    assert all(search["valid_logloss"] > 0 for search in content["searches"])
    (run,) = content["runs"]
    assert run["rung"] == "0.1m" and run["learning_rate"] in (0.001, 0.002)
    assert run["split"] == "test" and run["rows"] == 2048
    assert [rows for rows, _ in run["curve"]] == [1024, 2048]
    assert run["excess"] == run["logloss"] - run["attainable_logloss"] > 0
    assert run["last_window_logloss"] > 0 and run["seconds"] > 0
    assert (tmp_path / "ladder" / "scaling.md").exists()
