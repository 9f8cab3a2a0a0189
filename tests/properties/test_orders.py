"""Names and orders change no score, no warm start and no resumed run."""

import random
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, seed, settings
from hypothesis import strategies as st

from tests.properties import logs, orders, profile, routes, specs, training

pytestmark = pytest.mark.slow


@st.composite
def changed(draw):
    """Rows and a model, and other names and orders of both."""
    case = draw(specs.scored())
    spec = case.config.features
    generator = random.Random(case.seed)
    for row in case.rows:
        for task in spec.tasks:
            row[task.label] = generator.randint(0, 1)
    old = orders.all_names(spec)
    new = draw(
        st.lists(
            logs.names(parquet=True),
            min_size=len(old),
            max_size=len(old),
            unique=True,
        )
    )
    names = dict(zip(old, new, strict=True))
    return case, orders.Change(names, draw(st.integers(0, 2**32)))


@seed(profile.SEED)
@settings(max_examples=profile.TRAINED)
@given(changed())
def test_names_and_orders_change_nothing(arguments):
    case, change = arguments
    one = training.Trained(case.config)
    one.randomize(case.seed)
    renamed = training.Trained(change.renamed(case.config))
    renamed.randomize(case.seed)
    other = training.warm_started(change.reordered(renamed.config), renamed)
    rows, order = change.rows(case.rows)

    def assert_same(found, after):
        expected = one.score(case.rows)
        assert found.keys() == {change.names[task] for task in expected}
        for task, logits in expected.items():
            scale = 1 + np.abs(logits).max()
            np.testing.assert_allclose(
                found[change.names[task]],
                logits[order],
                atol=2e-5 * scale,
                err_msg=after,
            )

    assert_same(other.score(rows), "a warm start")
    one.step(case.rows)
    other.step(rows)
    assert_same(other.score(rows), "a step")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        other.save(folder / "run", 1)
        other = training.resumed(folder / "run")
        one.step(case.rows)
        other.step(rows)
        assert_same(other.score(rows), "a resumed run")
        other.save(folder / "run", 2)
        assert_same(
            routes.predict(
                str(folder / "run"),
                routes.table(other.config.features, rows),
                folder,
            ),
            "--mode=predict",
        )
