"""What every layer holds, on its own cases."""

import pytest

from tests.layers import (
    harness,
    test_attentive_projection,
    test_factorization_machine,
    test_interaction_stack,
    test_linear_compress,
    test_mlp,
    test_wukong_layer,
)
from wukong_tf import layers

CASES_OF = {
    cases[0].layer: cases
    for cases in (
        test_mlp.CASES,
        test_linear_compress.CASES,
        test_attentive_projection.CASES,
        test_factorization_machine.CASES,
        test_wukong_layer.CASES,
        test_interaction_stack.CASES,
    )
}
of_every_case = pytest.mark.parametrize(
    "case",
    [case for cases in CASES_OF.values() for case in cases],
    ids=lambda case: f"{case.layer.__name__}-{case.name}",
)
of_every_layer = pytest.mark.parametrize(
    "layer", CASES_OF, ids=lambda layer: layer.__name__
)


@pytest.mark.parametrize("check", harness.CHECKS, ids=harness.name_of)
@of_every_case
def test_holds_what_every_layer_must(case, check, tmp_path):
    check(case, tmp_path)


@pytest.mark.parametrize("dtype", harness.POLICIES)
@of_every_case
def test_value_and_gradient_are_the_oracles(case, dtype):
    harness.check_value(case, dtype)
    harness.check_gradient(case, dtype)


@of_every_layer
def test_every_argument_is_tried(layer):
    harness.assert_all_tried(layer, CASES_OF[layer])


@of_every_layer
def test_the_docstring_gives_every_default(layer):
    harness.assert_defaults_documented(layer)


def test_no_layer_is_left_out():
    public = {getattr(layers, name) for name in layers.__all__}
    assert public == CASES_OF.keys()
