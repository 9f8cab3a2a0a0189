"""What the tests of preparation share."""

import numpy as np
import pytest

from tests.trainer.preparation.frappe_files import write_csv


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """Files that small shards cut many times."""
    draw = np.random.default_rng(0)
    splits = {
        split: [
            (int(draw.integers(2)), *(str(v) for v in draw.zipf(1.5, 10) % 99))
            for _ in range(count)
        ]
        for split, count in (("train", 60_000), ("valid", 9000), ("test", 9000))
    }
    folder = tmp_path_factory.mktemp("large") / "in"
    return write_csv(folder, splits=splits), splits
