"""Budgets, pruning, stops and refusals, with a stand-in for the trainer."""

import json
import math
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests import tiers
from tests.trainer import stand_in
from tests.trainer.tuning import command
from tests.trainer.tuning.command import run, starts, states, trials
from tests.waiting import until
from trainer.settings.command import read
from trainer.tuning import trial_run, tuner
from trainer.tuning.model_study import ModelStudy
from wukong_tf.files import locked

pytestmark = pytest.mark.slow  # most start processes
ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(autouse=True)
def fake(monkeypatch):
    stand_in.install(command.FAKE, tuner, monkeypatch.setattr)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A study that nothing disturbed, and what it printed."""
    folder = tmp_path_factory.mktemp("whole")
    return folder, stand_in.finished(command, folder)


def value_of(trial, epochs=3):
    """What the stand-in's formula gives for a trial's best evaluation."""
    lr = trial["flags"]["learning_rate"]
    return min((math.log10(lr) + 3) ** 2 + 1 / i for i in range(1, epochs + 1))


def test_budgets_are_equal_and_said_before_the_first_trial(whole):
    folder, done = whole
    found = trials(folder)
    assert {name: len(listed) for name, listed in found.items()} == {
        "mlp": 4,
        "fm": 4,
    }
    begun = re.findall(r"^(\w+) trial (\d): learning_rate", done.stderr, re.M)
    assert begun == [(m, str(n)) for n in range(4) for m in ("mlp", "fm")]
    plan, _, _ = done.stderr.partition("mlp trial 0")
    assert "budget of each of mlp, fm: 4 trials, without a limit" in plan
    assert "best logloss of click on the valid rows; seed 0" in plan
    for trial in (*found["mlp"], *found["fm"]):
        assert trial["state"] == "complete"
        assert trial["value"] == pytest.approx(value_of(trial))
        assert len(trial["evaluations"]) == 3


def test_trials_are_runs_on_train_and_valid_rows(whole):
    folder, _ = whole
    for model, listed in trials(folder).items():
        for trial in listed:
            (start,) = starts(folder, model, trial["trial"])
            given = read(start["arguments"])
            flags = trial["flags"]
            assert given["model"] == f"--model={model}"
            assert given["splits"] == "--splits=train,valid"
            assert given["seed"] == "--seed=0"
            assert given["plots"] == "--noplots"
            assert given["epochs"] == "--epochs=3"
            for flag, value in flags.items():
                assert given[flag] == f"--{flag}={value}"
            steps = int(given["eval_every_steps"].partition("=")[2])
            assert steps * flags["batch_size"] == 100 * 1024
            assert ("dropout" in flags) == (model == "mlp")
    both = [trial["flags"] for trial in trials(folder)["mlp"]]
    assert len({tuple(flags.items()) for flags in both}) == 4


def test_the_best_trial_becomes_a_flagfile(whole):
    folder, done = whole
    for model, listed in trials(folder).items():
        best = min(listed, key=value_of)
        path = folder / "study" / f"{model}.flags"
        given = read([f"--flagfile={path}"])
        (start,) = starts(folder, model, best["trial"])
        tried = read(start["arguments"])
        for name in ("run_dir", "seed", "splits", "plots", "keep_checkpoints"):
            assert name not in given
            del tried[name]
        assert given == tried
        head = path.read_text().partition("\n--")[0]
        assert all(line.startswith("#") for line in head.splitlines())
        for part in (
            f"trial {best['trial']} of 4 (4 complete)",
            f"logloss of click on the valid rows, {best['value']:.6g}",
            "Seed: 0",
            "optuna ",
            "the synthetic log of seed 0",
        ):
            assert part in head
        commands = re.findall(
            rf"^python .*{model}\.flags (.*)$", done.stdout, re.M
        )
        seeds = [text.partition(" ")[0] for text in commands]
        assert seeds == [f"--seed={seed}" for seed in range(1, 6)]
        kept = folder.glob(f"study/{model}/trial-*/checkpoints")
        assert [path.parent.name for path in kept] == [
            f"trial-{best['trial']:04d}"
        ]


def test_the_table_lists_every_trial(whole):
    folder, _ = whole
    text = (folder / "study" / "trials.md").read_text()
    for model, listed in trials(folder).items():
        section = text.partition(f"## {model}\n")[2].partition("##")[0]
        rows = re.findall(r"^\| (\d) \| complete \| (\S+) \|", section, re.M)
        assert rows == [(str(t["trial"]), f"{t['value']:.6g}") for t in listed]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_stopped_study_ends_like_one_that_was_not(number, whole, tmp_path):
    waits = "600 if number == 1 and starts == 1 and i == 2 else 0"
    process = subprocess.Popen(
        stand_in.start_command(command, tmp_path),
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "FAKE_SECONDS": waits},
    )
    first = tmp_path / "study" / "mlp" / "trial-0001" / "metrics.jsonl"
    until(lambda: first.exists() and "valid" in first.read_text())
    process.send_signal(number)
    said = process.communicate(timeout=60)[1]
    if number == signal.SIGTERM:
        assert process.returncode == 75, said
        assert states(tmp_path) == {
            "mlp": ["complete", "running"],
            "fm": ["complete"],
        }
        assert not list(tmp_path.glob("study/*.flags"))
    assert run(tmp_path) == 0

    def facts(folder):
        return {
            model: [
                {k: v for k, v in trial.items() if k != "seconds"}
                for trial in listed
            ]
            for model, listed in trials(folder).items()
        }

    assert facts(tmp_path) == facts(whole[0])
    again = starts(tmp_path, "mlp", 1)
    assert len(again) == 2
    assert again[0]["arguments"] == again[1]["arguments"]
    assert len(starts(tmp_path, "mlp", 0)) == 1
    assert run(tmp_path) == 0  # which has nothing left to do
    assert len(starts(tmp_path, "fm", 3)) == 1


@pytest.mark.parametrize("warmup", [0, 1])
def test_trials_worse_than_the_median_are_stopped(
    warmup, tmp_path, monkeypatch
):
    """Once five are complete; the others improve from trial to trial."""
    monkeypatch.setenv(
        "FAKE_VALUE",
        "(9 + i if number in (3, 5, 7) else -number) + 1 / i",
    )
    monkeypatch.setenv(
        "FAKE_SECONDS",
        f"300 if number in (5, 7) and i > {1 + warmup} else 0",
    )
    more = () if warmup else ("--prune_warmup=0",)
    assert run(tmp_path, "--models=fm", "--trials=9", *more) == 0
    listed = trials(tmp_path)["fm"]
    for trial in listed:
        stopped = trial["trial"] in (5, 7)
        assert trial["state"] == ("pruned" if stopped else "complete")
        assert len(trial["evaluations"]) == (1 + warmup if stopped else 3)
        assert trial["value"] == min(trial["evaluations"])
    text = (tmp_path / "study" / "fm.flags").read_text()
    assert "trial 8 of 9 (7 complete, 2 pruned)" in text


def test_a_trial_that_was_to_be_stopped_is_stopped_later(tmp_path, monkeypatch):
    monkeypatch.setenv("FAKE_VALUE", "number + 1 / i")
    monkeypatch.setenv("FAKE_SECONDS", "300 if number == 5 and i == 3 else 0")
    more = ("--models=fm", "--trials=6")
    stop = trial_run.TrialRun.stop

    def die(self, reason):
        if reason == "pruned":
            raise ZeroDivisionError
        stop(self, reason)

    with monkeypatch.context() as patch:
        patch.setattr(trial_run.TrialRun, "stop", die)
        with pytest.raises(ZeroDivisionError):
            run(tmp_path, *more)
    assert len(starts(tmp_path, "fm", 5)) == 1
    assert run(tmp_path, *more) == 0
    assert states(tmp_path)["fm"] == ["complete"] * 5 + ["pruned"]
    assert len(trials(tmp_path)["fm"][5]["evaluations"]) == 2


def test_a_store_that_fails_ends_the_tuner_and_its_trials(
    tmp_path, monkeypatch, capsys
):
    from optuna.exceptions import StorageInternalError

    def fail(self, trial, value):
        raise StorageInternalError("commit failed") from OSError("disk is full")

    monkeypatch.setattr(tuner, "_cores", lambda: 2)
    monkeypatch.setenv("FAKE_SECONDS", "300 if model == 'mlp' else 0")
    with monkeypatch.context() as patch:
        patch.setattr(ModelStudy, "complete", fail)
        assert run(tmp_path, "--parallel=2") == 2
    said = capsys.readouterr().err
    assert "the store of the study failed: disk is full. The same" in said
    with locked(str(tmp_path / "study" / "mlp" / "trial-0000" / "lock")):
        pass  # its process has ended


def test_higher_is_better_for_auc(tmp_path, monkeypatch):
    monkeypatch.setenv("FAKE_VALUE", "lr")
    base = (*command.BASE, "--early_stopping_metric=auc")
    assert run(tmp_path, "--models=fm", "--trials=2", base=base) == 0
    listed = trials(tmp_path)["fm"]
    best = max(listed, key=lambda t: t["flags"]["learning_rate"])
    text = (tmp_path / "study" / "fm.flags").read_text()
    assert f"trial {best['trial']} of 2" in text
    assert "Metric: auc of click" in text


def test_minutes_end_the_trials_of_a_model(tmp_path, monkeypatch):
    monkeypatch.setenv("FAKE_SECONDS", "600 if number == 1 else 0")
    seconds = {"0": 40.0, "1": 21.0}  # by the last digit of the trial
    monkeypatch.setattr(
        trial_run.TrialRun,
        "seconds",
        property(lambda self: seconds[self.run_dir[-1]]),
    )
    assert run(tmp_path, "--minutes=1") == 0
    assert states(tmp_path) == {
        "mlp": ["complete", "timed out"],
        "fm": ["complete", "timed out"],
    }
    for listed in trials(tmp_path).values():
        assert [trial["seconds"] for trial in listed] == [40.0, 21.0]
    text = (tmp_path / "study" / "mlp.flags").read_text()
    assert "trial 0 of 4 (1 complete, 1 timed out)" in text
    assert "Time: 1.0 minutes for all trials (limit: 1), 40 s" in text


def test_no_minute_is_lost_in_an_interruption(tmp_path, monkeypatch):
    monkeypatch.setattr(
        trial_run.TrialRun, "seconds", property(lambda self: 35.0)
    )
    monkeypatch.setenv("FAKE_SECONDS", "600 if i == 2 else 0")
    metrics = tmp_path / "study" / "fm" / "trial-0000" / "metrics.jsonl"
    more = ("--models=fm", "--minutes=1", "--trials=1")
    with monkeypatch.context() as patch:
        patch.setattr(tuner, "STOP", StopsOnce(metrics))
        assert run(tmp_path, *more) == 75
    (trial,) = trials(tmp_path)["fm"]
    assert (trial["state"], trial["seconds"]) == ("running", 35.0)
    assert run(tmp_path, *more) == 2  # no trial ran to its end
    (trial,) = trials(tmp_path)["fm"]
    assert (trial["state"], trial["seconds"]) == ("timed out", 70.0)


class StopsOnce:
    """Stands in for STOP: a signal comes after the first evaluation."""

    def __init__(self, metrics):
        self.metrics = metrics

    def __call__(self):
        return self.metrics.exists() and "valid" in self.metrics.read_text()

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        pass


def test_failures_are_recorded_and_the_others_go_on(tmp_path, monkeypatch):
    monkeypatch.setenv("FAKE_END", "1 if number == 1 and i == 2 else None")
    monkeypatch.setenv("FAKE_VALUE", "None if number == 2 else 1 / i")
    assert run(tmp_path, "--models=fm") == 0
    listed = trials(tmp_path)["fm"]
    assert states(tmp_path)["fm"] == [
        "complete",
        "failed",
        "failed",
        "complete",
    ]
    assert listed[1]["error"] == "exit code 1: --rank is wrong."
    assert listed[2]["error"].endswith("no evaluation has a finite value")
    assert listed[2]["evaluations"] == [None] * 3


def test_values_that_contradict_each_other_fail_their_trial(tmp_path):
    """Without a process, also as the first trial, and as one of the trials."""
    mlp = "num_tokens = {choices = [4, 3]}\ntoken_dim = {choices = [64, 33]}"
    command.write_spaces(tmp_path / "own", rank_mixer=mlp)
    more = ("--models=rank_mixer,fm", f"--spaces={tmp_path / 'own'}")
    assert run(tmp_path, *more, "--trials=8") == 0
    found = trials(tmp_path)
    assert {name: len(listed) for name, listed in found.items()} == {
        "rank_mixer": 8, "fm": 8,
    }  # fmt: skip
    table = (tmp_path / "study" / "trials.md").read_text()
    kinds = set()
    for trial in found["rank_mixer"]:
        refused = trial["flags"]["token_dim"] % trial["flags"]["num_tokens"]
        kinds.add(bool(refused))
        assert trial["state"] == ("failed" if refused else "complete")
        if refused:
            assert trial["seconds"] == 0
            assert "--token_dim must be a multiple" in trial["error"]
            assert f"\n- {trial['trial']}: {trial['error']}\n" in table
        name = f"trial-{trial['trial']:04d}"
        folder = tmp_path / "study" / "rank_mixer" / name
        assert folder.exists() == (not refused)
    assert kinds == {True, False}


def test_a_model_without_a_complete_trial_is_an_error(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.setenv("FAKE_END", "1 if model == 'fm' else None")
    assert run(tmp_path, "--trials=2") == 2
    said = capsys.readouterr()
    assert "no trial of fm ran to its end" in said.err
    assert "mlp.flags --seed=1" in said.out


def test_a_refused_first_trial_ends_the_tuner(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("FAKE_END", "2 if model == 'fm' else None")
    monkeypatch.setenv("FAKE_SECONDS", "60")
    monkeypatch.setattr(tuner, "_cores", lambda: 2)
    assert run(tmp_path, "--parallel=2") == 2
    said = capsys.readouterr().err
    assert (
        "--models=fm: the trainer refused the first trial: --rank is wrong."
        in said
    )
    assert not (tmp_path / "study" / "mlp" / "trial-0000" / "ended").exists()


def test_flags_may_change_until_a_run_begins(tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setenv("FAKE_END", "2")
        assert run(tmp_path, "--models=fm") == 2
    more = ("--models=fm", "--trials=1")
    assert run(tmp_path, *more, base=("--synthetic",)) == 0
    assert run(tmp_path, *more) == 2


def test_a_trial_that_somebody_else_stopped_goes_on(tmp_path, monkeypatch):
    monkeypatch.setenv("FAKE_END", "75 if starts < 3 and i == starts else None")
    assert run(tmp_path, "--models=fm", "--trials=1") == 0
    (trial,) = trials(tmp_path)["fm"]
    assert trial["evaluations"] == pytest.approx(
        [value_of(trial, epochs=i) for i in (1, 2, 3)]
    )
    assert len(starts(tmp_path, "fm", 0)) == 3


def test_a_killed_trial_goes_on_once(tmp_path, monkeypatch):
    killed = "(number == 0 or starts == 1) and i == starts"
    monkeypatch.setenv("FAKE_END", f"137 if {killed} else None")
    assert run(tmp_path, "--models=fm", "--trials=2") == 0
    assert states(tmp_path)["fm"] == ["failed", "complete"]
    first, second = trials(tmp_path)["fm"]
    assert first["error"].startswith("exit code 137")
    assert len(second["evaluations"]) == 3
    assert [len(starts(tmp_path, "fm", n)) for n in (0, 1)] == [2, 2]


@pytest.mark.parametrize("devices", tiers.first([[], ["3", "GPU-7"]]))
def test_parallel_trials_share_the_machine(devices, tmp_path, monkeypatch):
    monkeypatch.setattr(tuner, "_cores", lambda: 6)
    monkeypatch.setattr(tuner, "gpus", lambda: devices)
    monkeypatch.setenv("FAKE_SECONDS", "meet(2)")
    assert run(tmp_path, "--parallel=2", "--trials=2") == 0
    spans = []
    for model in ("mlp", "fm"):
        for number in range(2):
            (start,) = starts(tmp_path, model, number)
            folder = tmp_path / "study" / model / f"trial-{number:04d}"
            end = float((folder / "ended").read_text())
            spans.append((start["time"], end))
            given = read(start["arguments"])
            if devices:
                assert start["gpu"] in devices
                assert "intra_op_threads" not in given
            else:
                assert given["intra_op_threads"] == "--intra_op_threads=3"
    at_once = [
        sum(begin <= moment < end for begin, end in spans)
        for moment, _ in spans
    ]
    assert max(at_once) == 2


def test_studies_in_one_store_do_not_mix(tmp_path):
    store = f"--storage=sqlite:///{tmp_path}/store.db"
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        assert run(tmp_path / name, store, "--models=fm", "--trials=2") == 0
        assert len(trials(tmp_path / name)["fm"]) == 2
        assert not (tmp_path / name / "study" / "study.db").exists()


def test_importance_is_what_mattered(tmp_path):
    pytest.importorskip("matplotlib")
    more = ("--models=fm", "--trials=14", "--noprune", "--plots")
    assert run(tmp_path, *more) == 0
    assert states(tmp_path)["fm"] == ["complete"] * 14
    content = json.loads((tmp_path / "study" / "trials.json").read_text())
    shares = content["models"]["fm"]["importance"]
    assert next(iter(shares)) == "learning_rate"
    assert sum(shares.values()) == pytest.approx(1)
    picture = (tmp_path / "study" / "importance_fm.png").read_bytes()
    assert picture.startswith(b"\x89PNG")


@pytest.mark.parametrize(
    "more, base, named",
    [
        (["--trials=5"], (), "trials was 4, is 5"),
        (["--seed=1"], (), "seed was 0, is 1"),
        (["--models=mlp"], (), "models was ['mlp', 'fm'], is ['mlp']"),
        ([], ["--epochs=4"], "flags.epochs was --epochs=3, is --epochs=4"),
        ([], ["--synthetic_seed=1"], "data.synthetic_seed was 0, is 1"),
    ],
)
def test_another_plan_is_refused(more, base, named, whole, capsys):
    assert run(whole[0], *more, base=(*command.BASE, *base)) == 2
    said = capsys.readouterr().err
    assert named in said and "Choose another --output" in said


@pytest.mark.parametrize(
    "more, base, named",
    [
        (["--models=none"], (), "--models must be distinct names of ['wukong'"),
        (["--models=fm,fm"], (), "received 'fm,fm'"),
        (["--models="], (), "--models is required."),
        (["--output="], (), "--output is required."),
        (["--parallel=3"], (), "--parallel must be at most the 2 cores"),
        (
            ["--storage=sqlite:////no/folder/db"],
            (),
            "--storage=sqlite:////no/folder/db cannot be opened",
        ),
        (
            ["--storage=nothing://me:secret@host/db"],
            (),
            "--storage=nothing://host/db cannot be opened",
        ),
        ([], ["--num_fmb=4"], "--models=mlp: --num_fmb contradicts"),
        ([], ["--no_such=4"], "no_such"),
        ([], ["word"], "unexpected arguments: ['word']"),
        (["word"], (), "the trainer's flags come after --"),
    ],
)
def test_invalid_flags_are_refused(
    more, base, named, tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr(tuner, "_cores", lambda: 2)
    assert run(tmp_path, *more, base=(*command.BASE, *base)) == 2
    said = capsys.readouterr().err
    assert named in said and "secret" not in said
    assert not list(tmp_path.glob("study/*/trial-*"))


def test_data_must_be_there(tmp_path, capsys):
    assert run(tmp_path, base=()) == 2
    assert "no data: give --data_dir" in capsys.readouterr().err


def test_without_optuna_the_error_says_how_to_install_it(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.setitem(sys.modules, "optuna", None)
    assert run(tmp_path) == 2
    assert "[tune]'" in capsys.readouterr().err


def test_a_study_has_one_tuner(tmp_path, capsys):
    (tmp_path / "study").mkdir()
    with locked(str(tmp_path / "study" / "lock")):
        assert run(tmp_path) == 2
    assert "is in use by another process" in capsys.readouterr().err


def test_a_broken_line_of_a_trial_s_log_costs_that_line(tmp_path):
    lines = [
        b'{"kind": "valid", "step": 5, "click": {"auc": 0.5}}',
        b'{"kind": "valid", "st\0ep"\xff "valid"',
        b'{"kind": "valid", "step": 10, "click": {"auc": null}}',
        b'{"kind": "valid", "step": 11}',
        b'{"kind": "valid", "step": 12, "click": 7}',
        b'{"kind": "valid", "step": 13, "click": {"auc": "x"}}',
        b'{"kind": "valid", "step": 15, "cli',
    ]
    (tmp_path / "metrics.jsonl").write_bytes(b"\n".join(lines))
    first, second = trial_run.evaluations(str(tmp_path), "click", "auc")
    assert first == 0.5 and math.isnan(second)
    assert trial_run.evaluations(str(tmp_path / "new"), "click", "auc") == []


def test_spaces_are_those_that_are_shipped_in_any_directory(
    tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    assert run(tmp_path, "--spaces=", "--models=mlp", "--trials=1") == 0
    plan = json.loads((tmp_path / "study" / "study.json").read_text())
    assert {"learning_rate", "embedding_dim"} <= plan["spaces"]["mlp"].keys()
