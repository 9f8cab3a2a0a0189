"""What the process of a tracker does with the calls of a run."""

import json
import subprocess
import sys
import threading

import pytest

from trainer.settings import Data, Model, Run, Settings
from trainer.tracking import child
from trainer.tracking.tracker import parameters_of


class Service:
    """Notes its calls; those whose names are in `broken` raise."""

    def __init__(self, broken=()):
        self.calls = []
        self.broken = {*broken}

    def _note(self, name, *arguments):
        if name in self.broken:
            raise RuntimeError(f"{name}: https://ann:secret@host/ is\ndown")
        self.calls.append((name, *arguments))

    def start(self, start, known):
        self._note("start", start.name, known)
        return known or "new", f"run {known or 'new'}"

    def metrics(self, step, time, values):
        self._note("metrics", step, values)

    def report(self, folder):
        self._note("report", folder)

    def finish(self, status):
        self._note("finish", status)


def start(folder, run="a1"):
    return {
        "call": "start",
        "name": "n",
        "run": run,
        "folder": str(folder),
        "parameters": {},
        "tags": {},
    }


def metrics(step, kind="train"):
    return {
        "call": "metrics",
        "kind": kind,
        "step": step,
        "values": {"loss": step / 2},
    }


FINISH = {"call": "finish", "status": "finished"}


def serve(service, *messages):
    """Returns the lines said about these messages."""
    said: list[str] = []
    lines = [json.dumps({"time": 1.5, **m}) + "\n" for m in messages]
    child.Calls("mlflow", service, said.append).serve(lines)
    return said


def test_a_resumed_run_sends_no_step_twice(tmp_path):
    service = Service()
    serve(service, start(tmp_path), metrics(2), metrics(4), FINISH)
    serve(
        service,
        start(tmp_path),
        *(metrics(2), metrics(3, "valid"), metrics(4), metrics(6), FINISH),
    )
    assert service.calls == [
        ("start", "n", None),
        *(("metrics", step, {"loss": step / 2}) for step in (2, 4)),
        ("finish", "finished"),
        ("start", "n", "new"),
        *(("metrics", step, {"loss": step / 2}) for step in (3, 6)),
        ("finish", "finished"),
    ]


def test_another_run_in_the_directory_is_another_run_of_the_tracker(tmp_path):
    service = Service()
    serve(service, start(tmp_path), metrics(2), FINISH)
    serve(service, start(tmp_path, "b2"), metrics(2), FINISH)
    assert [call[:2] for call in service.calls if call[0] == "metrics"] == [
        ("metrics", 2)
    ] * 2
    assert ("start", "n", "new") not in service.calls


@pytest.mark.parametrize(
    "content",
    ["", "[]", "{}", '{"of": "a1"}', '{"of": "a1", "run": "x", "steps": []}'],
)
def test_a_spoilt_file_is_no_file(tmp_path, content):
    (tmp_path / "mlflow.json").write_text(content)
    service = Service()
    assert serve(service, start(tmp_path), FINISH) == ["run new"]
    assert service.calls[0] == ("start", "n", None)


def test_a_call_that_fails_costs_a_line_and_the_others_go_on(tmp_path):
    service = Service(["metrics"])
    begun = [start(tmp_path), metrics(2), metrics(4)]
    said = serve(service, *begun, FINISH)
    (_, line) = said
    assert line.startswith("metrics: cannot be sent for now: RuntimeError: ")
    assert service.calls[-1] == ("finish", "finished")
    # What was not sent is sent by the run that repeats these steps.
    service.broken.clear()
    serve(service, *begun, FINISH)
    assert ("metrics", 2, {"loss": 1.0}) in service.calls


def test_a_run_that_cannot_be_started_is_said_once(tmp_path):
    said = serve(Service(["start"]), start(tmp_path), metrics(2), FINISH)
    (line,) = said
    assert line.startswith("no run, as it cannot be started: RuntimeError: ")


def test_a_trainer_that_dies_leaves_a_failed_run(tmp_path):
    service = Service()
    serve(service, start(tmp_path), metrics(2))
    assert service.calls[-1] == ("finish", "failed")
    said: list[str] = []
    line = json.dumps({"time": 1.5, **start(tmp_path)}) + "\n"
    calls = child.Calls("mlflow", service, said.append)
    calls.serve([line, '{"call": "met'])
    assert service.calls[-1] == ("finish", "failed")


TRAINER = """
import subprocess, sys
child = subprocess.Popen(
    [sys.executable, "-c", sys.argv[1], "mlflow"],
    stdin=subprocess.PIPE,
    stdout=subprocess.PIPE,
)
child.stdin.write(sys.argv[2].encode())
child.stdin.flush()
"""
CHILD = """
import sys, time
from trainer.tracking import child

class Service:
    def start(self, start, known):
        time.sleep(1.0)  # until the trainer is dead
        return "new", "run new"

    def metrics(self, step, at, values):
        print("step", step, file=sys.stderr)

    def finish(self, status):
        print(status, file=sys.stderr)

child.make = lambda name: Service()
"""


def after_a_kill(tmp_path, program=""):
    """What the tracker of a trainer that died does, until it ends."""
    messages = [{"time": 1.5, **m} for m in (start(tmp_path), metrics(2))]
    sent = "".join(json.dumps(message) + "\n" for message in messages)
    program = f"{CHILD}\n{program}\nchild.main()"
    return subprocess.run(
        [sys.executable, "-c", TRAINER, program, sent],
        capture_output=True,  # to the end of all that hold the pipe
        text=True,
        timeout=120,
    ).stderr


@pytest.mark.slow
def test_what_a_killed_trainer_sent_arrives(tmp_path):
    assert after_a_kill(tmp_path) == "step 2\nfailed\n"


@pytest.mark.slow
def test_a_tracker_that_hangs_ends_after_a_killed_trainer(tmp_path):
    hangs = "Service.finish = lambda *_: time.sleep(600)"
    said = after_a_kill(tmp_path, f"child.ORPHAN_S = 0\n{hangs}")
    assert "failed" not in said


def test_the_tracker_of_a_resumed_run_waits_for_that_of_the_killed(tmp_path):
    first, second = Service(), Service()
    resumed = threading.Thread(
        target=serve, args=(second, start(tmp_path), metrics(2), FINISH)
    )

    def lines():
        for message in (start(tmp_path), metrics(2)):
            yield json.dumps({"time": 1.5, **message}) + "\n"
            if not resumed.ident:
                resumed.start()
        assert not second.calls

    child.Calls("mlflow", first, lambda line: None).serve(lines())
    resumed.join(60)
    assert first.calls[-1] == ("finish", "failed")
    assert second.calls == [("start", "n", "new"), ("finish", "finished")]


def test_no_line_has_a_secret(monkeypatch):
    monkeypatch.setenv("WANDB_API_KEY", "0123456789abcdef")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "hunter2!")
    line = child.without_secrets(
        "401 of https://ann:pw@host/: key 0123456789abcdef, hunter2! x"
    )
    assert line == "401 of https://host/: key ***, *** x"


def test_parameters_are_the_settings_without_credentials():
    settings = Settings(
        run=Run(run_dir="r", track=("mlflow",), track_tags=("a=b",)),
        data=Data(train_files=("http://ann:pw@host/a", "b")),
        model=Model(num_layers=3),
    )
    parameters = parameters_of(settings)
    assert parameters["train_files"] == "http://host/a,b"
    assert parameters["num_layers"] == 3
    assert parameters["batch_size"] == 1024
    assert not [name for name in parameters if "track" in name]
    assert not [name for name, v in parameters.items() if v is None]
