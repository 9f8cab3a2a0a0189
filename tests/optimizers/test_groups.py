"""Who owns which variable, and that each gets its own gradient."""

import contextlib

import keras
import numpy as np
import pytest

from tests.errors import assert_refused
from wukong_tf.optimizers import ClippedAdam, OptimizerGroups, TableAdam
from wukong_tf.optimizers.groups import TABLES

PATHS = (
    "model/dense_0/kernel",
    "model/tables_8/table",
    "model/dense_0/bias",
    "model/tables_4/table",
)


def make_variables(paths=PATHS):
    variables = []
    for path in paths:
        *scopes, name = path.split("/")
        with contextlib.ExitStack() as stack:
            for scope in scopes:
                stack.enter_context(keras.name_scope(scope))
            variables.append(keras.Variable(np.zeros((2, 1)), name=name))
    assert [variable.path for variable in variables] == list(paths)
    return variables


def sgd(rate=1.0):
    return keras.optimizers.SGD(rate)


def test_each_variable_has_one_owner_in_order():
    groups = OptimizerGroups(
        make_variables(), {"tables": (sgd(), TABLES), "dense": (sgd(), None)}
    )
    owned = {
        name: [variable.path for variable in variables]
        for name, variables in groups.variables.items()
    }
    assert owned == {
        "tables": ["model/tables_8/table", "model/tables_4/table"],
        "dense": ["model/dense_0/kernel", "model/dense_0/bias"],
    }


@pytest.mark.parametrize(
    ("path", "claimed"),
    [
        ("model/feature_embedding/tables_16/table", True),
        ("tables_1/table", True),
        ("model/tables_16/table/momentum", False),
        ("model/more_tables_16/table", False),
        ("model/tables_wide/table", False),
        ("model/tables_16/tablet", False),
    ],
)
def test_the_pattern_of_tables(path, claimed):
    groups = OptimizerGroups(
        make_variables([path]),
        {"tables": (sgd(), TABLES), "dense": (sgd(), None)},
    )
    assert len(groups.variables["tables"]) == claimed


def test_each_variable_gets_its_own_gradient():
    variables = make_variables()
    groups = OptimizerGroups(
        variables, {"tables": (sgd(10.0), TABLES), "dense": (sgd(), None)}
    )
    groups.build()
    groups.apply([keras.ops.full((2, 1), i + 1.0) for i in range(4)])
    found = [float(np.asarray(variable)[0, 0]) for variable in variables]
    assert found == [-1.0, -20.0, -3.0, -40.0]
    for optimizer in groups.optimizers.values():
        assert int(optimizer.iterations) == 1


def test_a_group_without_variables_does_nothing():
    variables = make_variables(PATHS[:1])
    groups = OptimizerGroups(
        variables, {"tables": (sgd(), TABLES), "dense": (sgd(), None)}
    )
    groups.build()
    groups.apply([keras.ops.ones((2, 1))])
    assert float(np.asarray(variables[0])[0, 0]) == -1.0


@pytest.mark.parametrize("count", [3, 5])
def test_gradients_must_match_the_variables(count):
    groups = OptimizerGroups(make_variables(), {"all": (sgd(), None)})
    with pytest.raises(ValueError):
        groups.apply([keras.ops.ones((2, 1))] * count)


def test_a_variable_claimed_twice_is_named():
    assert_refused(
        lambda: OptimizerGroups(
            make_variables(),
            {
                "one": (sgd(), "tables"),
                "two": (sgd(), "_4"),
                "x": (sgd(), None),
            },
        ),
        "exactly one",
        "'model/tables_4/table'",
        "['one', 'two']",
    )


def test_a_variable_claimed_by_none_is_named():
    assert_refused(
        lambda: OptimizerGroups(make_variables(), {"tables": (sgd(), TABLES)}),
        "'model/dense_0/kernel'",
        "by no optimizer",
    )


def test_two_groups_for_the_rest_are_refused():
    assert_refused(
        lambda: OptimizerGroups(
            make_variables(), {"one": (sgd(), None), "two": (sgd(), None)}
        ),
        "['one', 'two']",
        "remaining",
    )


def test_slots_that_cannot_be_sharded_are_refused():
    for optimizer in (sgd(), TableAdam()):
        groups = OptimizerGroups(
            make_variables(), {"all": (optimizer, None)}, sharded_state=("all",)
        )
        assert_refused(groups.build, "optimizers['all']", "cannot be sharded")


def test_one_worker_has_all_slots():
    optimizer = ClippedAdam()
    groups = OptimizerGroups(
        make_variables(), {"all": (optimizer, None)}, sharded_state=("all",)
    )
    groups.build()
    assert optimizer.owned is None
