"""Versions that come and go while requests are answered."""

import asyncio
import json
import os
import shutil
import threading
from types import SimpleNamespace

import numpy as np
import pytest

from export.client.rest import RestClient
from export.client.retry import ServerError
from export.server import versions
from tests.export.client.test_clients import rows_of
from tests.export.conftest import exported
from tests.export.formats.test_saved_model import logits_of
from tests.export.server.running import serving
from tests.waiting import until
from tests.worlds.served import columns

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def both(run_dir, published, tmp_path_factory):
    """Directory with versions 7, of step 10, and 8, of step 20."""
    base = tmp_path_factory.mktemp("both") / "model"
    shutil.copytree(published, base / "7")
    exported(run_dir, base, "--version=8", "--checkpoint=20", "--format=onnx")
    return base


@pytest.fixture
def base(both, tmp_path):
    """Version 7 alone; version 8 waits in the same directory."""
    copied = tmp_path / "model"
    shutil.copytree(both, copied)
    os.rename(copied / "8", copied / ".unfinished-8")
    return copied


def show(base, version=8):
    os.rename(base / f".unfinished-{version}", base / str(version))


def version_of(server):
    return server.versions.current.published.version


def test_a_swap_under_load_loses_nothing(base, run_dir):
    raw = columns(rows=6, seed=71)
    rows = rows_of(raw)
    expected = [logits_of(run_dir, raw, checkpoint=step) for step in (10, 20)]
    assert np.min(np.abs(expected[0] - expected[1])) > 1e-3
    found, errors, stop = [set() for _ in range(4)], [], threading.Event()

    def ask(number):
        with RestClient(server.address, "model", retries=0) as client:
            while not stop.is_set():
                place = np.random.default_rng(len(found[number])).integers(6)
                (answer,) = client.predict([rows[place]])
                gaps = [abs(answer["logit"] - e[place]) for e in expected]
                if min(gaps) > 1e-5:
                    errors.append(answer)
                found[number].add(int(np.argmin(gaps)))

    with serving(base) as server:
        threads = [threading.Thread(target=ask, args=(n,)) for n in range(4)]
        for thread in threads:
            thread.start()
        until(lambda: all(0 in each for each in found))
        show(base)
        until(lambda: all(1 in each for each in found))
        before = server.versions
        stop.set()
        for thread in threads:
            thread.join()
        assert version_of(server) == 8
        assert before.loads == {"ok": 2, "failed": 0}
        # Goes back where the version is taken away.
        shutil.rmtree(base / "8")
        until(lambda: version_of(server) == 7)
        with RestClient(server.address, "model") as client:
            logit = client.predict(rows[:1])[0]["logit"]
    assert errors == []
    assert logit == pytest.approx(expected[0][0], abs=1e-5)


def test_rolling_forward_by_a_copy(base, run_dir, caplog):
    """The directory's number counts, and nothing is loaded twice."""
    show(base)
    raw = columns(rows=6, seed=72)
    expected = [logits_of(run_dir, raw, checkpoint=step) for step in (10, 20)]
    with serving(base) as server:
        assert version_of(server) == 8
        shutil.copytree(base / "7", base / ".copy")
        os.rename(base / ".copy", base / "9")
        until(lambda: version_of(server) == 9)
        looks = server.looks
        until(lambda: server.looks >= looks + 5)
        assert server.versions.loads == {"ok": 2, "failed": 0}
        for number in (9, None):
            with RestClient(server.address, "model", version=number) as client:
                logits = [row["logit"] for row in client.predict(rows_of(raw))]
            np.testing.assert_allclose(logits, expected[0], rtol=0, atol=1e-5)
        _, metadata = server.ask("GET", "/v1/models/model/metadata")
        assert metadata["model_spec"]["version"] == "9"
        path = "/v1/models/model/versions/"
        assert server.ask("GET", f"{path}9")[0] == 200
        assert server.ask("GET", f"{path}7")[0] == 404
    (said,) = [each for each in caplog.messages if "copy" in each]
    assert "as version 9" in said and "of version 7" in said
    with serving(base / "9") as server:
        assert version_of(server) == 9


@pytest.mark.parametrize("fault", ["flipped", "shortened", "missing"])
def test_files_that_are_not_what_was_published(base, fault):
    show(base)
    path = base / "8" / "onnx" / "model.onnx"
    content = bytearray(path.read_bytes())
    # Where weights are: the model would load, and score otherwise.
    place = len(content) // 2
    content[place] ^= 1
    if fault == "missing":
        path.unlink()
    else:
        path.write_bytes(content if fault == "flipped" else content[:-1])
    with serving(base) as server:
        assert version_of(server) == 7
        state = server.versions.states()[0]
        assert state["version"] == "8" and state["state"] == "END"
        assert "model.onnx" in state["status"]["error_message"]
        # Mended, it is loaded long before a minute has passed.
        content[place] ^= 1
        path.write_bytes(content)
        until(lambda: version_of(server) == 8, 30)


def test_files_need_not_be_compared(base):
    show(base)
    with open(base / "8" / "features.json", "a") as file:
        file.write("\n")
    with serving(base, verify=False) as server:
        assert version_of(server) == 8


@pytest.mark.parametrize("fault", ["manifest", "model", "format", "files"])
def test_a_version_that_cannot_be_loaded_changes_nothing(base, fault):
    show(base)
    path = base / "8" / "manifest.json"
    manifest = json.loads(path.read_text())
    if fault == "manifest":
        path.write_text("{")
    if fault == "model":
        (base / "8" / "onnx" / "model.onnx").write_bytes(b"no model")
    if fault == "format":
        path.write_text(json.dumps({**manifest, "format": 1}))
    if fault == "files":
        del manifest["files"]
        path.write_text(json.dumps(manifest))
    with serving(base) as server:
        assert version_of(server) == 7
        states = {each["version"]: each for each in server.versions.states()}
        assert states["8"]["state"] == "END"
        assert states["8"]["status"]["error_message"]
        with RestClient(server.address, "model") as client:
            assert client.ready()
            assert client.predict(rows_of(columns(rows=1)))


def test_one_that_failed_is_tried_again_after_a_minute(tmp_path, monkeypatch):
    now = [1000.0]
    clock = SimpleNamespace(monotonic=lambda: now[0])
    monkeypatch.setattr(versions, "time", clock)
    manifest = tmp_path / "3" / "manifest.json"
    manifest.parent.mkdir()
    manifest.write_text("{")
    settings = versions.Settings("auto", None, 8, 8)
    found = versions.Versions(str(tmp_path), settings, executor=None)

    def failures(seconds):
        now[0] += seconds
        asyncio.run(found.refresh())
        return found.loads["failed"]

    assert [failures(seconds) for seconds in (0, 59, 1, 59, 1)] == [
        *(1, 1, 2, 2, 3)
    ]
    manifest.write_text("{}")  # at once where its files are others
    assert failures(0) == 4


def test_a_pinned_version_stays(base):
    show(base)
    with serving(base, pinned=7) as server:
        assert version_of(server) == 7


def test_a_single_version_can_be_served(base):
    with serving(base / "7") as server:
        assert version_of(server) == 7


def test_a_directory_that_went_is_reported_once(base, caplog):
    with serving(base / "7") as server:
        os.rename(base / "7", base / "gone")
        until(lambda: "failed to check" in caplog.text)
        looks = server.looks
        until(lambda: server.looks >= looks + 5)
        with RestClient(server.address, "model") as client:
            assert client.predict(rows_of(columns(rows=1)))
    assert caplog.text.count("failed to check") == 1


def test_without_a_version_requests_are_told_so(tmp_path, base):
    empty = tmp_path / "empty"
    empty.mkdir()
    with serving(empty) as server:
        status, answer = server.post("predict", {"instances": []})
        assert status == 503 and "no version" in answer["error"]
        assert server.ask("GET", "/readyz")[0] == 503
        assert server.ask("GET", "/healthz")[0] == 200
        with RestClient(server.address, "model", retries=0) as client:
            assert not client.ready()
            with pytest.raises(ServerError, match="503"):
                client.predict([])
            shutil.copytree(base / "7", empty / "7.copied")
            os.rename(empty / "7.copied", empty / "7")
            client.wait_until_ready(60, every_s=0.05)
