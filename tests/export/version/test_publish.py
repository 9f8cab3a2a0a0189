"""Versions appear whole, once, or not at all."""

import os
import signal
import subprocess
import sys
import time

import pytest

from export.version import publish
from tests.conftest import ROOT
from wukong_tf.errors import ExportError


def write(draft, text="x"):
    with open(os.path.join(draft.path, "file"), "w") as file:
        file.write(text)


def tree(folder):
    return sorted(
        os.path.relpath(os.path.join(parent, name), folder)
        for parent, folders, names in os.walk(folder)
        for name in folders + names
    )


def test_a_version_appears_when_it_is_whole(tmp_path):
    output = str(tmp_path / "a" / "b")
    with publish.draft(output, 5) as draft:
        write(draft)
        assert publish.versions(output) == []
        assert os.path.dirname(draft.path) == output
        with pytest.raises(ValueError):
            int(os.path.basename(draft.path))
    assert draft.final == os.path.join(output, "5")
    assert tree(output) == ["5", "5/file"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_nothing_is_left_of_a_failure(tmp_path, error):
    output = str(tmp_path / "a" / "b")
    with pytest.raises(error), publish.draft(output, 5) as draft:
        write(draft)
        raise error
    assert tree(tmp_path) == []
    os.makedirs(os.path.join(output, "4"))
    with pytest.raises(error), publish.draft(output, 5) as draft:
        write(draft)
        raise error
    assert tree(output) == ["4"]


def test_the_default_is_the_time_in_seconds(tmp_path):
    before = int(time.time())
    with publish.draft(str(tmp_path)) as draft:
        pass
    assert before <= draft.version <= int(time.time())


def test_the_default_is_above_every_version(tmp_path):
    high = int(time.time()) + 10**6
    for name in (f"{high:015d}", "3", "v9", ".9", "latest"):
        os.mkdir(tmp_path / name)
    assert publish.versions(str(tmp_path)) == [3, high]
    with publish.draft(str(tmp_path)) as draft:
        pass
    assert draft.version == high + 1


def test_a_version_is_never_overwritten(tmp_path):
    os.mkdir(tmp_path / "007")
    with (
        pytest.raises(ExportError, match="--version=7 already exists"),
        publish.draft(str(tmp_path), 7),
    ):
        pass
    assert tree(tmp_path) == ["007"]


def test_a_version_that_came_meanwhile_is_not_overwritten(tmp_path):
    with (
        pytest.raises(ExportError, match="--version=7 already exists"),
        publish.draft(str(tmp_path), 7) as draft,
    ):
        write(draft)
        os.mkdir(draft.final)
    assert tree(tmp_path) == ["7"]


def test_two_exports_do_not_share_an_output(tmp_path):
    with publish.draft(str(tmp_path), 7) as first:
        write(first)
        with (
            pytest.raises(ExportError, match="another export"),
            publish.draft(str(tmp_path), 8),
        ):
            pass
    assert tree(tmp_path) == ["7", "7/file"]


def test_an_output_that_is_a_file_is_an_error(tmp_path):
    path = tmp_path / "file"
    path.write_text("x")
    for output in (path, path / "below"):
        with (
            pytest.raises(ExportError, match="--output=.*cannot be written"),
            publish.draft(str(output)),
        ):
            pass
    assert path.read_text() == "x"


@pytest.mark.slow
def test_what_a_killed_export_left_is_removed(tmp_path):
    code = (
        "import os; from export.version import publish\n"
        f"with publish.draft({str(tmp_path)!r}, 5) as draft:\n"
        "    open(os.path.join(draft.path, 'file'), 'w').close()\n"
        "    os.kill(os.getpid(), 9)\n"
    )
    ended = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False)
    assert ended.returncode == -signal.SIGKILL
    left = tree(tmp_path)
    assert any(name.endswith("/file") for name in left)
    assert publish.versions(str(tmp_path)) == []
    with publish.draft(str(tmp_path), 6) as draft:
        write(draft)
    assert tree(tmp_path) == ["6", "6/file"]
