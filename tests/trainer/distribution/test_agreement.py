"""What workers must have in common, and who is named when one is lost."""

import numpy as np
import pytest
import tensorflow as tf

from tests.errors import message
from tests.worlds import clicks
from trainer.data.content import Contents
from trainer.data.parquet import ParquetSource
from trainer.distribution import agreement, lost
from trainer.distribution.workers import Workers
from wukong_tf.errors import ConfigError, LostWorkerError


class Peers(Workers):
    """Workers whose others say what they are told to."""

    def __init__(self, others, index=0):
        super().__init__(tf.distribute.get_strategy())
        self.index = index
        self.addresses = tuple(f"127.0.0.1:{4000 + n}" for n in range(3))
        self.count = 3
        self.others = others

    def gather(self, value):
        return [value, *self.others]


def test_one_worker_agrees_with_itself():
    workers = Workers(tf.distribute.get_strategy())
    assert workers.is_chief and workers.part == (0, 1)
    assert workers.gather({"a": [1]}) == [{"a": [1]}]
    assert workers.from_chief(3) == 3
    assert workers.any(True) and not workers.any(False)


def test_what_differs_is_named():
    mine = {"training.rate": "1", "the code": "x"}
    agreement.check_same(Peers([dict(mine), dict(mine)]), mine)
    others = [dict(mine), {"training.rate": "2", "new": "y"}]
    said = message(
        ConfigError, lambda: agreement.check_same(Peers(others), mine)
    )
    assert "training.rate is 1 for worker 0 and 2 for worker 2" in said
    assert "new is None for worker 0 and y for worker 2" in said
    assert "the code is x for worker 0 and None for worker 2" in said
    assert "worker 1" not in said


def test_files_are_told_apart_by_their_ends(tmp_path):
    path = clicks.write_log(str(tmp_path / "log")) + "/train.parquet"
    source = ParquetSource([path], clicks.SPEC)
    content = {"model": {"rank": 3, "units": list(range(99))}, "format": 1}

    def found():
        return agreement.identity(content, Contents({"train": source}))

    before = found()
    assert before["model.rank"] == "3"
    assert before["model.units"].startswith("of digest ")
    assert "format" not in before
    assert before["the version of numpy"] == np.__version__
    with open(path, "r+b") as file:
        file.seek(100)
        file.write(b"changed")
    after = found()
    different = {name for name in before if before[name] != after[name]}
    assert different == {"the train file train.parquet"}


def test_the_code_s_digest_is_that_of_its_sources(monkeypatch, tmp_path):
    for package in ("wukong_tf", "trainer"):
        (tmp_path / package).mkdir()
        (tmp_path / package / "a.py").write_text("x = 1\n")
    monkeypatch.setattr(agreement, "ROOT", tmp_path)
    first = agreement.code_digest()
    assert agreement.code_digest() == first
    (tmp_path / "trainer" / "a.py").write_text("x = 2\n")
    assert agreement.code_digest() != first


@pytest.mark.parametrize(
    "text, index, expected",
    [
        ("unhealthy: /job:worker/replica:0/task:2 The tasks", 0, [2]),
        ("from /job:worker/task:1: gone, /job:worker/task:2", 0, [1, 2]),
        ("from /job:worker/replica:0/task:0 to task:1", 0, []),
        (
            "Deadline Exceeded RPC: /tensorflow.CoordinationService/Heartbeat",
            1,
            [0],
        ),
        ("connect: ipv4:127.0.0.1:4002: refused", 0, [2]),
        ("port 40021", 0, []),
        ("/job:worker/task:17", 0, []),
    ],
)
def test_the_lost_worker_is_named(text, index, expected):
    assert lost.find_lost(text, Peers([], index)) == expected


def test_an_error_of_a_collective_becomes_one_that_names_the_worker(
    monkeypatch,
):
    monkeypatch.setattr(lost, "_silent", lambda workers: [])
    text = "Collective ops is aborted by: /job:worker/task:2 is down"

    def fail(workers, error):
        with lost.named(workers):
            raise error

    error = tf.errors.UnavailableError(None, None, text)
    said = message(LostWorkerError, lambda: fail(Peers([]), error))
    assert "worker 0: lost worker 2 (127.0.0.1:4002)" in said
    unknown = tf.errors.UnavailableError(None, None, "Collective: aborted")
    said = message(LostWorkerError, lambda: fail(Peers([]), unknown))
    assert "lost another worker" in said
    alone = Workers(tf.distribute.get_strategy())
    message(tf.errors.UnavailableError, lambda: fail(alone, error))
    other = tf.errors.InternalError(None, None, "cuda: out of order")
    message(tf.errors.InternalError, lambda: fail(Peers([]), other))
    message(ValueError, lambda: fail(Peers([]), ValueError("bad")))
