"""One score for a raw row, whichever way it goes to the model."""

import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, seed, settings

from tests.properties import profile, routes, specs

pytestmark = pytest.mark.slow


@seed(profile.SEED)
@settings(max_examples=profile.TRAINED)
@given(specs.scored())
def test_every_way_gives_one_score(case):
    spec = case.config.features
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        run_dir = routes.make_run(case.config, case.seed, folder)
        rows = routes.table(spec, case.rows)
        expected = routes.predict(run_dir, rows, folder)
        path = routes.version(run_dir, folder)
        found = routes.of_version(path, spec, case.rows, rows)
        found["notebook"] = routes.of_model(run_dir, path, case.rows)
        probabilities = routes.of_rows(run_dir, case.rows, rows)
    for way, scores in found.items():
        assert scores.keys() == expected.keys(), way
        for task, logits in scores.items():
            scale = 1 + np.abs(expected[task]).max()
            np.testing.assert_allclose(
                logits, expected[task], atol=1e-5 * scale, err_msg=way
            )
    for way, scores in probabilities.items():
        for task, logits in expected.items():
            scale = 1 + np.abs(logits).max()
            np.testing.assert_allclose(
                scores[task],
                0.5 * (1 + np.tanh(logits / 2)),
                atol=1e-5 * scale,
                err_msg=way,
            )
