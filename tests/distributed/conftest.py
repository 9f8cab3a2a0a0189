"""What the runs as processes share."""

import pytest

from tests.distributed.processes import write_log


@pytest.fixture(scope="session")
def data(tmp_path_factory):
    """The folder of a log with dense and multi-hot features."""
    return write_log(tmp_path_factory.mktemp("data") / "log")
