"""Budgets, searches, stops, failures and refusals of a ladder."""

import json
import os
import signal
import subprocess
from pathlib import Path

import pytest

from tests.trainer import stand_in
from tests.trainer.scaling_law import command
from tests.trainer.scaling_law.command import program, results, run
from tests.waiting import until
from trainer.scaling_law import runner
from trainer.settings.command import read
from wukong_tf import files

pytestmark = pytest.mark.slow  # most start processes
ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(autouse=True)
def fake(monkeypatch):
    stand_in.install(command.FAKE, runner, monkeypatch.setattr)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A ladder that nothing disturbed."""
    folder = tmp_path_factory.mktemp("whole")
    return folder, stand_in.finished(command, folder)


def starts(folder):
    """Flags of every process, by the run's folder within the ladder."""
    paths = (folder / "ladder").glob("*/*/*/starts")
    return {
        str(path.parent.relative_to(folder / "ladder")): [
            read(start["arguments"]) for start in stand_in.starts(path.parent)
        ]
        for path in paths
    }


def measured(content):
    """Runs without what a clock or a checkout says."""
    unlike = ("commit", "versions")
    return [
        {k: v for k, v in record.items() if k not in unlike}
        for record in content["runs"]
    ]


def test_all_runs_have_one_budget(whole):
    folder, done = whole
    content = results(folder)
    assert len(content["runs"]) == 2 * 3 * 2
    assert len(content["searches"]) == 2 * 3 * 3
    assert {record["rows"] for record in content["runs"]} == {65536}
    assert {search["rows"] for search in content["searches"]} == {8192}
    found = starts(folder)
    assert len(found) == len(content["runs"]) + len(content["searches"])
    for place, flags in found.items():
        ((given,), search) = (flags, "rate-" in place)
        assert given["max_steps"] == f"--max_steps={32 if search else 256}"
        assert given["eval"] == "--eval=progressive"
        assert ("splits" in given) == search  # test rows are for the end
        assert given["synthetic_train_rows"] == "--synthetic_train_rows=65536"
        if not search:
            assert given["eval_every_steps"] == "--eval_every_steps=26"
            window = given["progressive_window_rows"]
            assert window == "--progressive_window_rows=6400"
    assert "each rung: at most 3 learning rates on 8,192 rows" in done.stderr


def test_each_rung_has_the_best_of_its_rates(whole):
    folder, _ = whole
    for record in results(folder)["runs"]:
        assert record["learning_rate"] == 0.001
        assert record["excess"] == pytest.approx(record["logloss"] - 0.25)
        assert len(record["curve"]) == 10
        assert record["curve"][0][0] == 6656
        assert record["curve"][-1][0] == 65536


def test_the_law_is_that_of_the_stand_in(whole):
    folder, _ = whole
    fits = json.loads((folder / "ladder" / "scaling.json").read_text())
    # FLOP rise a little slower than the square of the units.
    assert fits["mlp"]["of_flop"]["exponent"] == pytest.approx(0.3, abs=0.1)
    assert fits["mlp"]["of_flop"]["r_squared"] > 0.98
    page = (folder / "ladder" / "scaling.md").read_text()
    assert "| mlp | training FLOP | attainable |" in page


def test_rungs_in_order_of_cost_and_checkpoints_removed(whole):
    folder, _ = whole
    flop = [record["training_flop"] for record in results(folder)["runs"]]
    assert flop == sorted(flop)
    assert not [*(folder / "ladder").glob("*/*/*/checkpoints")]


def test_a_whole_ladder_has_nothing_left(whole, capsys):
    folder, _ = whole
    before = starts(folder)
    assert run(folder) == 0
    assert starts(folder) == before
    assert run(folder, "--plan") == 0
    assert "left: 0 TFLOP" in capsys.readouterr().out
    assert run(folder, "--plan", "--learning_rates=0.001,0.01") == 2
    assert "learning_rates was [0.0003" in capsys.readouterr().err
    longer = "--learning_rates=0.0001,0.0003,0.001,0.003"
    assert run(folder, "--plan", longer) == 0  # 0.001 is the best, between two
    assert "left: 0 TFLOP" in capsys.readouterr().out
    longer = "--learning_rates=0.0003,0.001,0.002,0.003"
    assert run(folder, "--plan", longer) == 0
    out = capsys.readouterr().out
    assert "0 runs and at most 1 tries left" in out
    assert "left: 0 TFLOP" not in out


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_after_a_stop_the_same_command_ends_the_same(
    whole, number, tmp_path, monkeypatch
):
    monkeypatch.setenv("FAKE_SECONDS", "0.05")
    process = subprocess.Popen(
        stand_in.start_command(command, tmp_path),
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    place = (
        tmp_path
        / "ladder"
        / "dlrm"
        / "1m"
        / "seed-2-lr-0.001"
        / "metrics.jsonl"
    )
    until(place.exists)
    os.kill(process.pid, number)
    code = process.wait()
    assert code == (75 if number == signal.SIGTERM else -number)
    had = len(results(tmp_path)["runs"])
    assert had < 12
    monkeypatch.delenv("FAKE_SECONDS")
    assert run(tmp_path) == 0
    assert measured(results(tmp_path)) == measured(results(whole[0]))
    resumed = {k: len(v) for k, v in starts(tmp_path).items()}
    assert max(resumed.values()) == 2  # the run that was stopped
    assert sum(resumed.values()) == len(resumed) + 1


def test_other_rungs_and_seeds_join_a_ladder(tmp_path):
    one = ("--models=mlp", "--learning_rates=0.001")
    assert run(tmp_path, "--rungs=1", *one) == 0
    assert run(tmp_path, "--rungs=1,3", "--seeds=1,2,3", *one) == 0
    content = results(tmp_path)
    found = [(r["rung"], r["seed"]) for r in content["runs"]]
    assert sorted(found) == [(r, s) for r in ("1m", "3m") for s in (1, 2, 3)]
    assert not content["searches"]  # of a single rate


def test_another_ladder_in_the_directory_is_refused(tmp_path, capsys):
    small = ("--rungs=1", "--models=mlp", "--seeds=1")
    assert run(tmp_path, *small) == 0
    assert run(tmp_path, *small, "--rows=32768") == 2
    said = capsys.readouterr().err
    assert "belongs to another study; different: rows was 65536" in said
    ladder = tmp_path / "ladder.toml"
    ladder.write_text("[mlp.1m]\nhead_units = '7'")
    more = (*small, f"--ladder={ladder}", "--rungs=1m")
    for plan in ((), ("--plan",)):
        assert run(tmp_path, *more, *plan) == 2
        assert "give the rung another name" in capsys.readouterr().err


def test_a_rate_that_fails_is_not_chosen(tmp_path, monkeypatch):
    monkeypatch.setenv("FAKE_FAIL", "lr == 0.001")
    assert run(tmp_path, "--rungs=1", "--models=mlp", "--seeds=1") == 0
    content = results(tmp_path)
    failed, other = content["searches"]
    assert failed["valid_logloss"] is None
    assert "the loss is not finite" in failed["error"]
    (record,) = content["runs"]
    assert record["learning_rate"] == other["learning_rate"] == 0.0003


def test_a_search_goes_on_until_both_neighbours_are_worse(tmp_path):
    rates = "--learning_rates=0.00001,0.0001,0.0004,0.001,0.003,0.01,0.03"
    assert run(tmp_path, "--rungs=1", "--models=mlp", rates) == 0
    tried = [s["learning_rate"] for s in results(tmp_path)["searches"]]
    assert tried == [0.001, 0.0004, 0.003]
    lower = "--learning_rates=0.0004,0.001,0.003,0.01,0.03,0.1"
    assert run(tmp_path / "b", "--rungs=1", "--models=mlp", lower) == 0
    tried = [s["learning_rate"] for s in results(tmp_path / "b")["searches"]]
    assert tried == [0.003, 0.001, 0.0004]


def test_the_best_run_of_a_search_on_all_rows_is_the_first_seed_s(tmp_path):
    one = ("--rungs=1", "--models=mlp", "--search_rows=65536")
    assert run(tmp_path, *one) == 0
    content = results(tmp_path)
    assert [s["seed"] for s in content["searches"]] == [1, 1, 1]
    assert [r["seed"] for r in content["runs"]] == [1, 2]
    found = starts(tmp_path)
    assert {Path(place).name: len(flags) for place, flags in found.items()} == {
        "seed-1-lr-0.001": 2, "seed-1-lr-0.0003": 1, "seed-1-lr-0.003": 1,
        "seed-2-lr-0.001": 1,
    }  # fmt: skip
    first, second = found["mlp/1m/seed-1-lr-0.001"]
    assert first.pop("splits") == "--splits=train,valid"
    assert first == second  # scores the test rows, too
    assert not [*(tmp_path / "ladder").glob("*/*/*/checkpoints")]


def test_more_rates_may_be_tried_later(tmp_path, capsys):
    one = ("--models=mlp", "--rungs=1,3")
    assert run(tmp_path, *one, "--learning_rates=0.0001,0.0004") == 0
    runs = results(tmp_path)["runs"]
    assert {r["learning_rate"] for r in runs} == {0.0004}
    more = "--learning_rates=0.0001,0.0004,0.003"
    assert run(tmp_path, *one, more) == 0
    again = results(tmp_path)["runs"]
    assert measured({"runs": again}) == measured({"runs": runs})
    # One rung with more rates, on a machine that has only results.json.
    for path in ("mlp", "study.json"):
        files.remove(str(tmp_path / "ladder" / path))
    best = f"{more},0.001"
    assert run(tmp_path, "--models=mlp", "--rungs=1", best) == 0
    found = [(r["rung"], r["learning_rate"]) for r in results(tmp_path)["runs"]]
    assert sorted(found) == 2 * [("1m", 0.001)] + 2 * [("3m", 0.0004)]
    assert {*starts(tmp_path)} == {
        "mlp/1m/rate-0.001", "mlp/1m/seed-1-lr-0.001", "mlp/1m/seed-2-lr-0.001",
    }  # fmt: skip
    capsys.readouterr()
    assert run(tmp_path, *one, more) == 2
    assert "learning_rates was [0.0001, 0.0004" in capsys.readouterr().err
    files.remove(str(tmp_path / "ladder" / "study.json"))
    assert run(tmp_path, *one, best, "--evaluations=3") == 2
    assert "different: evaluations was 10, is 3" in capsys.readouterr().err


def test_seeds_of_a_rate_that_is_no_longer_the_best_are_dropped(tmp_path):
    one = ("--models=mlp", "--rungs=1")
    assert run(tmp_path, *one, "--learning_rates=0.0001,0.0004") == 0
    assert [r["seed"] for r in results(tmp_path)["runs"]] == [1, 2]
    more = "--learning_rates=0.0001,0.0004,0.001,0.003"
    assert run(tmp_path, *one, more, "--seeds=1") == 0
    found = [(r["seed"], r["learning_rate"]) for r in results(tmp_path)["runs"]]
    assert found == [(1, 0.001)]


def test_an_error_of_another_kind_is_not_that_of_a_rate(
    tmp_path, monkeypatch, capsys
):
    one = ("--rungs=1", "--models=mlp", "--seeds=1")
    monkeypatch.setenv("FAKE_FAIL", "lr == 0.003")
    for text in (
        "No space left on device",
        "out of memory on this machine",
        "train-00000.parquet: cannot be read as Parquet.",
    ):
        monkeypatch.setenv("FAKE_ERROR", text)
        assert run(tmp_path, *one) == 2
        assert text in capsys.readouterr().err
        rates = [s["learning_rate"] for s in results(tmp_path)["searches"]]
        assert 0.003 not in rates
    monkeypatch.delenv("FAKE_ERROR")
    assert run(tmp_path, *one) == 0
    assert "the loss is not finite" in capsys.readouterr().err
    assert None in [s["valid_logloss"] for s in results(tmp_path)["searches"]]


def test_a_schedule_ends_with_each_run(tmp_path):
    one = ("--rungs=1", "--models=mlp", "--seeds=1")
    base = (*command.BASE, "--learning_rate_schedule=cosine")
    assert run(tmp_path, *one, base=base) == 0
    for flags in starts(tmp_path).values():
        steps = flags[0]["max_steps"].partition("=")[2]
        assert flags[0]["decay_steps"] == f"--decay_steps={steps}"


def test_a_name_that_is_also_a_pattern(tmp_path):
    folder = tmp_path / "a[b]"
    folder.mkdir()
    one = ("--rungs=1", "--models=mlp", "--seeds=1")
    assert run(folder, *one) == 0
    assert run(folder, *one, "--evaluations=3") == 2


def test_one_rate_on_all_rows_is_the_first_of_a_longer_list(tmp_path):
    one = ("--rungs=1", "--models=mlp", "--search_rows=65536")
    assert run(tmp_path, *one, "--learning_rates=0.001") == 0
    before = results(tmp_path)
    assert before["searches"] == []
    assert run(tmp_path, *one, "--learning_rates=0.0003,0.001,0.003") == 0
    content = results(tmp_path)
    assert [s["learning_rate"] for s in content["searches"]] == [0.0003, 0.003]
    assert content["runs"] == before["runs"]
    assert run(tmp_path, *one, "--learning_rates=0.0003,0.001,0.002,0.003") == 0
    assert len(results(tmp_path)["searches"]) == 3


def test_a_killed_process_is_started_once_more(tmp_path, monkeypatch, capsys):
    one = ("--rungs=1", "--models=mlp", "--seeds=1")
    monkeypatch.setenv("FAKE_KILL", "seed == 0 and lr == 0.001 and starts < 4")
    assert run(tmp_path, *one) == 2
    said = capsys.readouterr().err
    assert "mlp 1m rate 0.001: exit code -9" in said
    assert not (tmp_path / "ladder" / "results.json").exists()
    assert run(tmp_path, *one) == 0
    (record,) = results(tmp_path)["runs"]
    assert record["learning_rate"] == 0.001
    counts = {Path(k).name: len(v) for k, v in starts(tmp_path).items()}
    assert counts == {
        "rate-0.0003": 1, "rate-0.001": 4, "rate-0.003": 1,
        "seed-1-lr-0.001": 1,
    }  # fmt: skip


def test_a_rung_whose_rates_all_failed_is_tried_again(
    tmp_path, monkeypatch, capsys
):
    one = ("--rungs=1", "--models=mlp", "--seeds=1")
    monkeypatch.setenv("FAKE_FAIL", "True")
    assert run(tmp_path, *one) == 2
    said = capsys.readouterr().err
    assert "no learning rate has a finite LogLoss" in said
    assert "the loss is not finite" in said
    monkeypatch.delenv("FAKE_FAIL")
    assert run(tmp_path, *one) == 0
    assert len(results(tmp_path)["searches"]) == 3


def test_a_run_that_fails_is_told_and_tried_again(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.setenv("FAKE_FAIL", "model == 'mlp' and seed == 2")
    assert run(tmp_path, "--rungs=1,3") == 2
    said = capsys.readouterr().err
    assert "2 runs failed" in said
    assert said.count("mlp 1m seed 2: exit code 2") == 2  # at once, at the end
    content = results(tmp_path)
    assert len(content["runs"]) == 6
    finals = [s for s in content["searches"] if s.get("final")]
    assert [(s["rung"], s["seed"]) for s in finals] == [("1m", 2), ("3m", 2)]
    page = (tmp_path / "ladder" / "scaling.md").read_text()
    assert "diverged: mlp 1m 0.001 seed 2, mlp 3m 0.001 seed 2" in page
    monkeypatch.delenv("FAKE_FAIL")
    assert run(tmp_path, "--rungs=1,3") == 0
    content = results(tmp_path)
    assert len(content["runs"]) == 8
    assert not [s for s in content["searches"] if s.get("final")]


@pytest.mark.parametrize(
    "more, base, named",
    [
        (("--rows=100",), command.BASE, "--rows must be at least --batch_size"),
        (("--rows=99999999",), command.BASE, "65,536 train rows"),
        (("--search_rows=1",), command.BASE, "--search_rows must be"),
        (
            ("--rows=1000", "--search_rows=2000"),
            command.BASE,
            "at most --rows, 1,000; received 2,000",
        ),
        (
            ("--models=wukong",),
            (*command.BASE, "--rank=9"),
            "the recipe of wukong sets it",
        ),
        ((), (*command.BASE, "--epochs=2"), "--epochs must not be"),
        ((), (*command.BASE, "--rank=2"), "--models=mlp: --rank contradicts"),
        ((), ("--batch_size=x",), "batch_size"),
        ((), (), "no data: give --data_dir"),
        (("--results=a.json",), command.BASE, "--results trains nothing"),
        (("--seeds=1,4294967296",), command.BASE, "0 to 4294967295"),
        (("--rungs=1000000000",), command.BASE, "no sizes of about"),
    ],
)
def test_flags_that_break_a_rule_are_refused(
    more, base, named, tmp_path, capsys
):
    assert run(tmp_path, *more, base=base) == 2
    assert named in capsys.readouterr().err
    assert not (tmp_path / "ladder").exists()


def test_a_plan_writes_nothing_and_names_flags_that_are_not_used(
    tmp_path, capsys
):
    base = (*command.BASE, "--mode=eval", "--seed=9")
    small = ("--rows=1000", "--learning_rates=0.001", "--plan")
    assert run(tmp_path, *small, base=base) == 0
    said = capsys.readouterr()
    assert "each run has its own: --mode=eval --seed=9" in said.err
    assert "each rung: 2 seeds on 768 rows in one pass" in said.out
    assert not (tmp_path / "ladder").exists()


def test_output_is_required(capsys):
    assert program() == 2
    assert "--output is required" in capsys.readouterr().err
