"""Whatever dies, the run goes on and ends as if nothing had.

Every case runs with sharded tables and optimizer state; where replicated ones
take another path, one case of a kind runs with these too.
"""

import functools
import os
import random
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.distributed import processes
from tests.distributed.processes import (
    finish,
    kill,
    largest_difference,
    records,
    start_one,
    start_worker,
    start_workers,
    step_of,
    wait_for,
    workers_of,
)
from trainer.launch import free_ports
from trainer.main import EXIT_LOST, EXIT_RESUME
from wukong_tf import runs

pytestmark = pytest.mark.slow

OPTIONS = {
    "epochs": 10,
    "checkpoint_every_steps": 10,
    "eval_every_steps": 60,
    "steps_per_loop": 2,
}
PLACEMENTS: dict[str, dict] = {
    "replicated": {},
    "sharded": {"table_placement": "sharded", "dense_state": "sharded"},
}
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def undisturbed(data, tmp_path_factory):
    """Returns a run that nothing disturbed, by placement and workers."""

    @functools.cache
    def run(placement, count):
        run_dir = tmp_path_factory.mktemp("whole") / "run"
        options = {**OPTIONS, **PLACEMENTS[placement]}
        finish(start_workers(count, data, run_dir, **options))
        return run_dir

    return run


@pytest.fixture
def placement(request):
    """Where tables and optimizer state are; sharded if no case says so."""
    return getattr(request, "param", "sharded")


@pytest.fixture
def options(placement):
    """Flags of the run of a test."""
    return {**OPTIONS, **PLACEMENTS[placement]}


@pytest.fixture
def whole(undisturbed, placement):
    """A run of two workers that nothing disturbed."""
    return undisturbed(placement, 2)


def cases(name, *values):
    """Parametrizes a test by a value and where tables are."""
    return pytest.mark.parametrize(
        f"{name}, placement",
        values,
        ids=[f"{value} {where}" for value, where in values],
        indirect=["placement"],
    )


def assert_ends_equal(run_dir, whole):
    """To the bit: nothing that was lost is missed."""
    differs, name = largest_difference(whole, run_dir)
    assert differs == 0, name
    # Each evaluation once, in order, whatever was run again.
    evaluations = [r["step"] for r in records(whole, "valid")]
    assert [r["step"] for r in records(run_dir, "valid")] == evaluations


def begin(data, run_dir, steps, *launch, count=2, **options):
    """A run that has come some steps far, and its workers' process ids."""
    launcher = start_workers(count, data, run_dir, *launch, **options)
    wait_for(lambda: step_of(run_dir) >= steps, launcher, f"step {steps}")
    return launcher, workers_of(launcher, count)


@cases(
    "told",
    ("launcher", "sharded"),
    (1, "sharded"),
    (0, "sharded"),
    (1, "replicated"),
)
@pytest.mark.full
def test_sigterm_to_one_saves_a_step_that_all_agree_on(
    data, whole, options, tmp_path, told
):
    run_dir = tmp_path / "run"
    launcher, pids = begin(data, run_dir, 20, **options)
    if told == "launcher":
        # Several, of both kinds, and to its group as a terminal does.
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGTERM) * 2:
            os.killpg(launcher.pid, number)
    else:
        kill(pids[told], signal.SIGTERM)
    said = finish(launcher, EXIT_RESUME)
    # Of several, the process handles SIGINT or SIGTERM first.
    first = ["SIGTERM", "SIGINT"] if told == "launcher" else ["SIGTERM"]
    assert any(f"{n}: stopping after the current steps" in said for n in first)
    assert "Traceback" not in said
    assert said.count("worker 0 ended: exit code 75") == 1
    assert said.count("worker 1 ended: exit code 75") == 1
    stopped = runs.find_checkpoint(str(run_dir), "latest").step
    assert 20 <= stopped < 170 and stopped == step_of(run_dir)
    said = finish(start_workers(2, data, run_dir, **options))
    assert f"resuming from step {stopped}" in said
    assert_ends_equal(run_dir, whole)


@cases("lost", (0, "sharded"), (1, "sharded"), (0, "replicated"))
@pytest.mark.full
def test_a_killed_worker_is_named_and_started_again(
    data, whole, options, tmp_path, lost
):
    run_dir = tmp_path / "run"
    launcher, pids = begin(data, run_dir, 24, "--max_restarts=1", **options)
    kill(pids[lost])
    said = finish(launcher)
    assert (
        f"[{1 - lost}] error: worker {1 - lost}: lost worker {lost} (" in said
    )
    assert f"launch: worker {lost} ended: killed by SIGKILL" in said
    assert f"launch: worker {1 - lost} ended: exit code {EXIT_LOST}" in said
    assert "restarting all workers; 0 restarts left" in said
    # The one of step 20 may have been in writing.
    assert "resuming from step 20" in said or "from step 10" in said
    assert_ends_equal(run_dir, whole)


@pytest.mark.full
def test_killed_in_an_evaluation(data, whole, options, tmp_path):
    run_dir = tmp_path / "run"
    # Evaluations of 203 steps, long enough to be hit.
    options = {**options, "eval_batch_size": 1}
    launcher, pids = begin(data, run_dir, 60, "--max_restarts=1", **options)
    kill(pids[1])
    finish(launcher)
    differs, name = largest_difference(whole, run_dir)
    assert differs == 0, name
    assert [r["step"] for r in records(run_dir, "valid")] == [60, 120, 170]


def unfinished(run_dir, end=""):
    """What is being written to the run's checkpoints, of names that end so."""
    folder = run_dir / "checkpoints"
    return folder.is_dir() and any(
        name.startswith(".unfinished") and name.endswith(end)
        for name in os.listdir(folder)
    )


def wait_for_writing(run_dir, end=""):
    """Until a checkpoint is being written, or for some seconds."""
    for _ in range(100_000):
        if unfinished(run_dir, end):
            break


@cases("lost", (0, "sharded"), (1, "sharded"), (0, "replicated"))
@pytest.mark.full
def test_killed_while_a_checkpoint_is_written(
    data, whole, options, placement, tmp_path, lost
):
    run_dir = tmp_path / "run"
    launcher, pids = begin(data, run_dir, 20, "--max_restarts=1", **options)
    # What workers write of their rows comes before what the chief writes.
    wait_for_writing(run_dir, "-shards" if placement == "sharded" else "")
    kill(pids[lost])
    finish(launcher)
    assert_ends_equal(run_dir, whole)
    assert not unfinished(run_dir)


@pytest.mark.full
def test_killed_and_stopped_with_other_workers_each_time(
    data, placement, tmp_path
):
    """Two workers, then four, then one, in float64."""
    one = {**OPTIONS, "epochs": 20, "precision": "float64", "lookup": "take"}
    several = {**one, **PLACEMENTS[placement]}
    finish(start_one(data, tmp_path / "whole", **one))
    run_dir = tmp_path / "run"
    stopped = 0
    for count, lost, told in ((2, 1, 0), (4, 2, 3)):
        launcher, pids = begin(
            data,
            run_dir,
            stopped + 14,
            "--max_restarts=1",
            count=count,
            **several,
        )
        if count == 4:
            wait_for_writing(run_dir, "-shards")
        kill(pids[lost])
        dead, goal = set(pids), step_of(run_dir) + 12
        while not dead.isdisjoint(pids):
            pids = workers_of(launcher, count)
        wait_for(lambda goal=goal: step_of(run_dir) >= goal, launcher, "more")
        wait_for_writing(run_dir, "-shards")
        kill(pids[told], signal.SIGTERM)
        said = finish(launcher, EXIT_RESUME)
        assert said.count("restarting all workers") == 1
        stopped = runs.find_checkpoint(str(run_dir), "latest").step
        assert stopped == step_of(run_dir) < 340
    said = finish(start_one(data, run_dir, **one))
    assert f"resuming from step {stopped}" in said
    differs, name = largest_difference(tmp_path / "whole", run_dir)
    assert differs < 1e-11, name


@pytest.mark.parametrize("lost", [0, 1])
@pytest.mark.full
def test_a_stopped_worker_is_noticed_in_bounded_time(
    data, whole, options, tmp_path, lost
):
    """Its socket stays open: it is its silence that tells."""
    run_dir = tmp_path / "run"
    launcher, pids = begin(data, run_dir, 24, "--grace_s=2", **options)
    kill(pids[lost], signal.SIGSTOP)
    began = time.monotonic()
    said = finish(launcher, EXIT_LOST)
    # Twice --worker_timeout_s and --grace_s, and what a slow machine takes.
    assert time.monotonic() - began < 60
    assert (
        f"[{1 - lost}] error: worker {1 - lost}: lost worker {lost} (" in said
    )
    assert f"launch: worker {lost} ended: killed by SIGKILL" in said
    finish(start_workers(2, data, run_dir, **options))
    assert_ends_equal(run_dir, whole)


@pytest.mark.full
def test_workers_end_with_their_launcher(data, whole, options, tmp_path):
    run_dir = tmp_path / "run"
    launcher, pids = begin(data, run_dir, 20, **options)
    launcher.kill()
    for _ in range(600):
        states = [Path(f"/proc/{pid}").exists() for pid in pids]
        if not any(states):
            break
        time.sleep(0.1)
    assert not any(states)
    launcher.communicate()
    finish(start_workers(2, data, run_dir, **options))
    assert_ends_equal(run_dir, whole)


@pytest.mark.full
def test_a_spoilt_checkpoint_is_passed_over(data, whole, options, tmp_path):
    run_dir = tmp_path / "run"
    finish(start_workers(2, data, run_dir, **options, max_steps=40))
    path = dict(runs.checkpoint_paths(str(run_dir)))[40]
    file = Path(max(Path(path).glob("*.npy"), key=os.path.getsize))
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 4
    file.write_bytes(content)
    said = finish(start_workers(2, data, run_dir, **options))
    assert f"corrupted checkpoint: {path}" in said
    assert "resuming from step 30" in said
    differs, name = largest_difference(whole, run_dir)
    assert differs == 0, name


@pytest.mark.full
def test_a_second_run_on_the_directory_is_refused(data, options, tmp_path):
    run_dir = tmp_path / "run"
    launcher, _ = begin(data, run_dir, 10, **{**options, "epochs": 60})
    said = finish(start_workers(2, data, run_dir, **options), 2)
    assert "is in use by another process" in said
    launcher.terminate()
    finish(launcher, EXIT_RESUME)


@pytest.mark.full
def test_a_second_worker_of_one_index_is_refused(
    data, whole, options, tmp_path
):
    """And the run that it meant to join goes on, and ends as ever."""
    run_dir = tmp_path / "run"
    launcher, pids = begin(data, run_dir, 10, **options)
    for number, pid in enumerate(pids):
        environ = Path(f"/proc/{pid}/environ").read_text().split("\0")
        text = next(e for e in environ if e.startswith("TF_CONFIG="))
        stray = processes.start_one(
            data,
            run_dir,
            environment={"TF_CONFIG": text.partition("=")[2]},
            **options,
        )
        said = finish(stray, 2)
        assert f"TF_CONFIG makes this process worker {number} at 127." in said
        assert "but another worker already runs there" in said
    finish(launcher)
    assert_ends_equal(run_dir, whole)


def refused(data, tmp_path, first, second):
    """What two workers said that do not fit together."""
    ports = free_ports(2)
    workers = [
        start_worker(
            index,
            ports,
            options.pop("data", data),
            tmp_path / "run",
            **options,
        )
        for index, options in enumerate((first, second))
    ]
    said = [finish(worker, 2) for worker in workers]
    assert all("the workers of a run must have the same" in s for s in said)
    assert not (tmp_path / "run").exists()
    return said[0]


@pytest.mark.full
def test_another_flag_is_refused(data, tmp_path):
    said = refused(data, tmp_path, {}, {"learning_rate": 0.004})
    assert (
        "training.learning_rate is 0.002 for worker 0 and 0.004 for worker 1"
        in said
    )


@pytest.mark.full
def test_another_file_is_refused(data, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(data, other)
    content = bytearray((other / "valid.parquet").read_bytes())
    content[40] ^= 1
    (other / "valid.parquet").write_bytes(content)
    said = refused(data, tmp_path, {}, {"data": str(other)})
    assert "the valid file valid.parquet is" in said
    assert "train.parquet" not in said


@pytest.mark.full
def test_other_code_is_refused(data, tmp_path):
    for package in ("trainer", "wukong_tf"):
        shutil.copytree(ROOT / package, tmp_path / "code" / package)
    with open(tmp_path / "code/trainer/loop/outer.py", "a") as file:
        file.write("# changed\n")
    said = refused(data, tmp_path, {}, {"cwd": tmp_path / "code"})
    assert "the code of wukong_tf and trainer is of digest" in said


@pytest.mark.full
def test_a_worker_that_never_comes_is_waited_for_in_bounded_time(
    data, tmp_path
):
    ports = free_ports(2)
    for index in range(2):
        worker = start_worker(
            index, ports, data, tmp_path / "run", cluster_timeout_s=8
        )
        said = finish(worker, -signal.SIGALRM)
        assert "waiting at most --cluster_timeout_s=8 s for 127.0.0.1" in said


@pytest.mark.parametrize("placement", ["sharded", "replicated"], indirect=True)
@pytest.mark.full
def test_a_full_disk_costs_nothing_that_is_there(
    data, whole, options, placement, tmp_path
):
    """A file system of 12 MB fills up, and is enlarged later."""
    mount = tmp_path / "disk"
    mount.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=12m", "tmpfs", str(mount)]
    if subprocess.run(command, capture_output=True).returncode:
        pytest.skip("a file system of its own needs the right to mount")
    try:
        run_dir = mount / "run"
        options |= {"checkpoint_retry_s": 0.2, "steps_per_loop": 1}
        launcher, _ = begin(data, run_dir, 20, **options)
        filler = mount / "filler"
        with open(filler, "wb", buffering=0) as file:
            try:
                while True:
                    file.write(bytes(2**16))
            except OSError:
                pass
        before = len(runs.checkpoint_paths(str(run_dir)))
        time.sleep(1.5)
        kept = runs.checkpoint_paths(str(run_dir))
        assert before and kept
        for _, path in kept:
            runs.open_checkpoint(path)  # whole
        filler.unlink()
        said = finish(launcher)
        assert "could not be written" in said and "No space left" in said
        # With shards, the next checkpoint is the next try.
        assert placement == "sharded" or "Retrying in 0.2 s." in said
        differs, name = largest_difference(whole, run_dir)
        assert differs == 0, name
    finally:
        subprocess.run(["umount", str(mount)], check=True)


@pytest.mark.full
def test_soak(data, options, tmp_path_factory, tmp_path):
    """Twenty random kills over one run, of workers and of the launcher."""
    options |= {"epochs": 30, "checkpoint_every_steps": 5}
    quiet = tmp_path_factory.mktemp("quiet") / "run"
    finish(start_workers(2, data, quiet, **options))
    draw = random.Random(20)
    run_dir = tmp_path / "run"
    victims = [0, 1, "launcher"] * 6 + [0, "launcher"]
    draw.shuffle(victims)
    launcher, said = None, ""
    dead: set[int] = set()
    for number, victim in enumerate(victims):
        if launcher is None:
            launcher = start_workers(
                2, data, run_dir, "--max_restarts=20", **options
            )
        pids = [0]
        while not dead.isdisjoint(pids) or 0 in pids:
            pids = workers_of(launcher, 2)
        # Any moment: some are killed as they start, some as they save.
        start = step_of(run_dir)
        if number % 4:
            goal = start + draw.randrange(1, 18)
            wait_for(
                lambda goal=goal: step_of(run_dir) >= goal,
                launcher,
                f"step {goal}",
            )
        time.sleep(draw.random() * 0.3)
        kill(launcher.pid if victim == "launcher" else pids[victim])
        dead |= set(pids)
        for _ in range(1200):
            if not any(map(runs_still, pids)):
                break
            time.sleep(0.1)
        assert not any(map(runs_still, pids))
        if victim == "launcher":
            said += launcher.communicate()[0]
            launcher = None
    if launcher is None:
        launcher = start_workers(2, data, run_dir, **options)
    said += finish(launcher)
    assert said.count("restarting all workers") == 20 - 7
    assert "Traceback" not in said
    differs, name = largest_difference(quiet, run_dir)
    assert differs == 0, name
    assert processes.records(run_dir, "valid")[-1]["step"] == 510


def runs_still(pid) -> bool:
    """Whether a process has not ended, though nobody may have asked it."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2]
    except OSError:
        return False
    return state.split()[0] != "Z"
