"""Files and directories that are replaced are whole at every instant."""

import errno
import fcntl
import os
import subprocess
import sys
import threading

import numpy as np
import pytest

from tests.trainer.preparation import command
from tests.worlds import small_runs
from trainer.checkpoints import store
from wukong_tf import files, runs
from wukong_tf.runs import checkpoint

CALLS = (
    *("mkdir", "open", "write", "fsync", "rename", "replace", "rmdir"),
    *("unlink", "remove"),
)


def die_at(number, act):
    """Runs `act` in a child that dies at its `number`th file operation.

    Returns:
        Whether it died; if not, `act` makes fewer operations.
    """
    child = os.fork()
    if not child:
        left = [number]

        def dying(call):
            def counted(*args, **kwargs):
                left[0] -= 1
                if left[0] < 0:
                    os._exit(9)
                return call(*args, **kwargs)

            return counted

        for name in CALLS:
            setattr(os, name, dying(getattr(os, name)))
        files._exchange = dying(files._exchange)
        act()
        os._exit(0)
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status) == 9


def content(folder):
    return {p.name: p.read_text() for p in sorted(folder.iterdir())}


@pytest.fixture(params=["exchange", "two renames"])
def exchange(request, monkeypatch):
    if request.param == "two renames":
        monkeypatch.setattr(files, "_exchange", lambda *paths: False)
    return request.param


def test_a_folder_is_the_old_or_the_new_wherever_the_writer_dies(
    tmp_path, exchange
):
    old, new = {"a": "1", "b": "1"}, {"a": "2", "c": "2"}
    for number in range(100):
        path, beside = tmp_path / f"{number}", tmp_path / f"{number}.new"
        for folder, texts in ((path, old), (beside, new)):
            folder.mkdir()
            for name, text in texts.items():
                (folder / name).write_text(text)
        died = die_at(
            number, lambda b=beside, p=path: files.replace_folder(b, p)
        )
        if exchange == "exchange":
            assert content(path) in (old, new)
        files.restore_folder(str(path))
        assert content(path) in (old, new)
        assert not os.path.lexists(f"{path}{files.REPLACED}")
        if not died:
            break
    assert number > 5 and content(path) == new


def test_a_step_saved_again_is_never_lost(tmp_path, exchange):
    def write(run_dir, value):
        array = np.full(3, value, np.float32)
        store.save(run_dir, 7, {"value": value}, [("x", array)])

    for number in range(200):
        run_dir = str(tmp_path / f"{number}")
        os.mkdir(run_dir)
        write(run_dir, 1)
        died = die_at(number, lambda r=run_dir: write(r, 2))
        store.remove_unfinished(run_dir)
        found = runs.find_checkpoint(run_dir, "latest")
        assert found["x"].tolist() == 3 * [found.state["value"]]
        names = os.listdir(os.path.join(run_dir, runs.CHECKPOINTS))
        assert names == ["step-0000000007"]
        if not died:
            break
    assert number > 10 and found.state == {"value": 2}


def test_a_file_is_the_old_or_the_new_wherever_the_writer_dies(tmp_path):
    for number in range(100):
        path = tmp_path / f"{number}.json"
        files.write_json(str(path), [1])
        died = die_at(number, lambda p=path: files.write_json(str(p), {"x": 2}))
        assert path.read_text() in ("[\n  1\n]\n", '{\n  "x": 2\n}\n')
        if not died:
            break
    assert number > 1 and "2" in path.read_text()


@pytest.fixture
def order(monkeypatch):
    """What is synced and renamed from here on, by name, in order."""
    order = []

    def watched(name):
        call = getattr(os, name)

        def noted(*args):
            target = args[0]
            if isinstance(target, int):
                target = os.readlink(f"/proc/self/fd/{target}")
            order.append((name, os.path.basename(target)))
            return call(*args)

        return noted

    for name in ("fsync", "replace", "rename"):
        monkeypatch.setattr(os, name, watched(name))
    return order


def test_what_is_shown_was_synced_before(tmp_path, order):
    files.write_text(str(tmp_path / "file"), "text")
    assert order == [
        ("fsync", "file.unfinished"),
        ("replace", "file.unfinished"),
        ("fsync", tmp_path.name),
    ]
    order.clear()
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "part").write_text("1")
    files.replace_folder(str(tmp_path / "new"), str(tmp_path / "folder"))
    assert order == [
        ("fsync", "part"),
        ("fsync", "new"),
        ("rename", "new"),
        ("fsync", tmp_path.name),
    ]


def test_a_preparation_was_synced_before_it_is_shown(tmp_path, order):
    for split in ("train", "valid", "test"):
        (tmp_path / f"{split}.csv").write_text("label,a\n1,x\n0,y\n")
    output = tmp_path / "data"
    command.prepared("csv", tmp_path, output)
    shown = order.index(("rename", "output"))
    synced = {name for kind, name in order[:shown] if kind == "fsync"}
    assert {path.name for path in output.iterdir()} <= synced
    assert order[shown - 1 :][::2] == [
        ("fsync", "output"),
        ("fsync", tmp_path.name),
    ]


def test_a_lock_of_a_directory_is_waited_for(tmp_path):
    held, began = str(tmp_path), threading.Event()

    def wait():
        began.set()
        with files.locked(held, wait=True):
            pass

    other = threading.Thread(target=wait)
    with files.locked(held):
        other.start()
        began.wait()
        with pytest.raises(BlockingIOError), files.locked(held):
            pass
        other.join(0.05)
        assert other.is_alive()
    other.join(10)
    assert not other.is_alive()


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "file"
    path.write_text("old")
    with pytest.raises(ZeroDivisionError), files.atomic_path(str(path)) as new:
        open(new, "w").close()
        raise ZeroDivisionError
    assert content(tmp_path) == {"file": "old"}


def test_an_error_of_writing_names_the_file(tmp_path):
    """A full disk's does not: only that of opening has the path."""
    path = str(tmp_path / "file")
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    with pytest.raises(OSError, match=f"No space left .*{path}") as raised:
        with files.atomic_path(path) as new, open(new, "w"):
            raise full
    assert raised.value.errno == errno.ENOSPC
    assert content(tmp_path) == {}


def test_what_is_no_file_is_not_replaced(tmp_path):
    """And before it is written: scores may take hours."""
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    for name, kind in (("folder", "a directory"), ("pipe", "a pipe")):
        with (
            pytest.raises(OSError, match=f"must be a file, but is {kind}"),
            files.atomic_path(str(tmp_path / name)),
        ):
            raise AssertionError("it was to be written")
    assert {p.name for p in tmp_path.iterdir()} == {"folder", "pipe"}
    assert (tmp_path / "pipe").is_fifo()


READER = """
import sys
from wukong_tf import runs
found = runs.find_checkpoint(sys.argv[1], "10")
print("open", flush=True)
sys.stdin.read()
print(sum(array.sum() for array in found.values()), flush=True)
"""


def test_a_checkpoint_that_is_read_is_not_pruned(tmp_path):
    run_dir = small_runs.write(tmp_path)
    steps = [step for step, _ in runs.checkpoint_paths(run_dir)]
    with subprocess.Popen(
        [
            sys.executable,
            "-c",
            READER.replace('"10"', f'"{steps[0]}"'),
            run_dir,
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as reader:
        assert reader.stdout.readline() == "open\n"
        store.prune(run_dir, 1)
        assert steps[0] in dict(runs.checkpoint_paths(run_dir))
        reader.communicate("")
        assert reader.returncode == 0
    store.prune(run_dir, 1)
    assert steps[0] not in dict(runs.checkpoint_paths(run_dir))


def test_a_checkpoint_pruned_while_it_is_opened_is_passed_over(
    tmp_path, monkeypatch
):
    run_dir = small_runs.write(tmp_path)
    opened = runs.open_checkpoint
    steps = [step for step, _ in runs.checkpoint_paths(run_dir)]
    monkeypatch.setattr(checkpoint, "best_step", lambda run_dir: None)

    def pruned_first(path):
        if path.endswith(str(steps[-1])):
            files.remove(path)
        return opened(path)

    monkeypatch.setattr(checkpoint, "open_checkpoint", pruned_first)
    assert runs.find_checkpoint(run_dir, "latest").step == steps[-2]


def test_a_file_is_held_while_anyone_has_it_open(tmp_path):
    path = str(tmp_path / "kept")
    assert not files.is_held(path)  # nothing is there
    (tmp_path / "kept").write_text("content")
    assert not files.is_held(path)
    with files.shared_lock(path) as one:
        assert one.read() == b"content"
        with files.shared_lock(path):
            assert files.is_held(path)
        assert files.is_held(path)
    assert not files.is_held(path)
    with pytest.raises(FileNotFoundError):
        files.shared_lock(str(tmp_path / "none"))


def test_readers_hold_checkpoints_on_nfs_too(tmp_path, monkeypatch):
    """It takes an exclusive lock for a write, which needs such a descriptor."""
    flock = fcntl.flock

    def of_nfs(file, how):
        writes = fcntl.fcntl(file, fcntl.F_GETFL) & os.O_ACCMODE
        if how & fcntl.LOCK_EX and not writes:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        flock(file, how)

    monkeypatch.setattr(fcntl, "flock", of_nfs)
    path = str(tmp_path / "kept")
    (tmp_path / "kept").write_text("content")
    with files.shared_lock(path):
        assert files.is_held(path)
    assert not files.is_held(path)
    assert (tmp_path / "kept").read_text() == "content"
