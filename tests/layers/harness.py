"""Checks that every layer of wukong_tf.layers must pass.

A test file lists its layer's cases and runs `CHECKS`, `check_value` and
`check_gradient` over them.
"""

import dataclasses
import functools
import inspect
import json
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import keras
import ml_dtypes
import numpy as np

from tests import backends, errors, tiers
from tests.docstrings import documented_defaults
from tests.oracles import blocks

backends.exact_products()

# Largest error relative to the largest entry of the oracle's array, by dtype
# policy. A rounding error is 2^-53, 2^-24 or 2^-8; a stack accumulates some
# tens of them, and norms amplify them. Float64 gradients are limited by
# central differences instead. Inputs and weights are exact in bfloat16, so
# that one oracle serves all policies.
VALUE_TOLERANCE = {
    "float64": 32 * 2.0**-53,
    "float32": 16 * 2.0**-24,
    "mixed_bfloat16": 6 * 2.0**-8,
}
GRADIENT_TOLERANCE = {
    "float64": 1e-8,
    "float32": 64 * 2.0**-24,
    "mixed_bfloat16": 16 * 2.0**-8,
}
# Float64 checks the formulas, for which one backend is enough; on the others
# Keras rounds some values to float32.
POLICIES = list(VALUE_TOLERANCE)
if backends.BACKEND != "tensorflow":
    POLICIES = tiers.first(["float32", "mixed_bfloat16"])


@dataclasses.dataclass(frozen=True, eq=False)
class Case:
    """A layer's class and arguments, an input shape, and its oracle."""

    name: str
    layer: type[keras.layers.Layer]
    arguments: dict[str, Any]
    shape: tuple[int, ...]
    oracle: blocks.Block

    def make(self, dtype: str = "float32") -> keras.layers.Layer:
        """Returns the built layer with initial weights."""
        layer = self.layer(**self.arguments, dtype=dtype, name="layer")
        layer.build(self.shape)
        return layer

    def make_random(self, dtype: str = "float32") -> keras.layers.Layer:
        """Returns the built layer with the case's non-default weights."""
        layer = self.make(dtype)
        layer.set_weights(list(self.weights.values()))
        return layer

    @functools.cached_property
    def x(self) -> np.ndarray:
        """Random input array."""
        return _exact(self._random("x").normal(size=self.shape))

    @functools.cached_property
    def weights(self) -> blocks.Weights:
        """Random weights by the end of their path, in the layer's order."""
        random = self._random("weights")
        result = {}
        for path, shape in shapes(self.make()).items():
            value = random.normal(size=shape) * 0.5
            if path.endswith("gamma"):
                value = 1 + value
            elif len(shape) == 2:
                value = value * 2 / np.sqrt(shape[0])
            result[path] = _exact(value)
        return result

    @functools.cached_property
    def y(self) -> np.ndarray:
        """The oracle's output."""
        return self.oracle(self.x, self.weights)

    @functools.cached_property
    def output_gradient(self) -> np.ndarray:
        """Random gradient of the loss for the output."""
        return _exact(self._random("gradient").normal(size=self.y.shape))

    @functools.cached_property
    def gradients(self) -> tuple[np.ndarray, blocks.Weights]:
        """The oracle's gradients for the input and the weights."""
        return blocks.gradients(
            self.oracle, self.x, self.weights, self.output_gradient
        )

    def _random(self, purpose: str) -> np.random.Generator:
        seed = zlib.crc32(f"{self.name} {purpose}".encode())
        return np.random.default_rng(seed)


def name_of(value: Any) -> str:
    """Returns the ID of a parametrized test, a case's or function's name."""
    return getattr(value, "name", None) or value.__name__


def shapes(layer: keras.layers.Layer) -> dict[str, tuple[int, ...]]:
    """Returns the shapes of the weights by their path in the layer."""
    return {
        weight.path.split("/", 1)[1]: tuple(weight.shape)
        for weight in layer.weights
    }


def random_input(*shape: int) -> np.ndarray:
    """Returns standard normal float32 numbers, always the same per shape."""
    return np.random.default_rng(7).normal(size=shape).astype("float32")


def check_value(case: Case, dtype: str) -> None:
    """Checks that the layer's output equals the oracle's."""
    layer = case.make_random(dtype)
    call = (
        layer if backends.BACKEND == "tensorflow" else backends.compiled(layer)
    )
    _assert_close(
        call(keras.ops.convert_to_tensor(case.x, layer.variable_dtype)),
        case.y,
        VALUE_TOLERANCE[dtype],
        "output",
    )


def check_gradient(case: Case, dtype: str) -> None:
    """Checks that gradients for input and weights equal the oracle's."""
    layer = case.make_random(dtype)
    for_x, for_weights = backends.gradients(
        layer, case.x, case.output_gradient, layer.variable_dtype
    )
    expected_x, expected = case.gradients
    tolerance = GRADIENT_TOLERANCE[dtype]
    _assert_close(for_x, expected_x, tolerance, "the input's gradient")
    assert list(shapes(layer)) == list(expected)
    for (path, value), gradient in zip(
        expected.items(), for_weights, strict=True
    ):
        assert gradient is not None, f"{path} has no gradient"
        _assert_close(gradient, value, tolerance, f"the gradient of {path}")


def check_keras_file(case: Case, folder: Path) -> None:
    """Checks that a model with the layer is restored from a .keras file."""
    for dtype in ("float32", "mixed_bfloat16"):
        model = _model(case.make_random(dtype), case)
        model.save(folder / "model.keras")
        loaded = keras.saving.load_model(folder / "model.keras")
        assert type(loaded.layers[-1]) is case.layer
        np.testing.assert_array_equal(
            _numpy(loaded(case.x)), _numpy(model(case.x))
        )


def check_weights_file(case: Case, folder: Path) -> None:
    """Checks that a weights file restores the weights of a new model."""
    model = _model(case.make_random(), case)
    model.save_weights(folder / "model.weights.h5")
    fresh = _model(case.make(), case)
    expected = _numpy(model(case.x))
    assert not np.array_equal(_numpy(fresh(case.x)), expected)
    fresh.load_weights(folder / "model.weights.h5")
    np.testing.assert_array_equal(_numpy(fresh(case.x)), expected)


def check_config(case: Case, folder: Path) -> None:
    """Checks that `get_config` has all arguments and recreates the layer."""
    del folder
    layer = case.make()
    config = layer.get_config()
    assert set(constructor_arguments(case.layer)) <= set(config)
    for name, value in case.arguments.items():
        assert _plain(name, config[name]) == _plain(name, value), name
    assert case.layer.from_config(config).get_config() == config
    text = json.dumps(keras.saving.serialize_keras_object(layer))
    again = keras.saving.deserialize_keras_object(json.loads(text))
    assert again.get_config() == config
    if not again.built:
        again.build(case.shape)
    assert shapes(again) == shapes(layer)


def check_output_shape(case: Case, folder: Path) -> None:
    """Checks that `compute_output_shape` returns the output's shape."""
    del folder
    layer = case.make()
    true = tuple(layer(case.x).shape)
    assert tuple(layer.compute_output_shape(case.shape)) == true
    unknown_batch = (None, *case.shape[1:])
    expected = (None, *true[1:])
    assert tuple(layer.compute_output_shape(unknown_batch)) == expected
    assert tuple(_model(layer, case).outputs[0].shape) == expected


def check_training(case: Case, folder: Path) -> None:
    """Checks that one step of `fit` changes every weight."""
    del folder
    layer = case.make_random()
    model = _model(layer, case)
    model.compile(keras.optimizers.SGD(0.1), loss="mse", jit_compile=False)
    before = layer.get_weights()
    with backends.recording():
        model.fit(case.x, case.output_gradient, batch_size=64, verbose=0)
    for path, old, new in zip(
        shapes(layer), before, layer.get_weights(), strict=True
    ):
        assert np.all(np.isfinite(new)), path
        assert not np.array_equal(old, new), f"{path} did not move"


CHECKS: list[Any] = [
    check_weights_file,
    check_config,
    check_output_shape,
    check_training,
    check_keras_file,
]
if backends.BACKEND != "tensorflow":
    CHECKS = tiers.first(CHECKS, 4)


def constructor_arguments(layer: type) -> dict[str, inspect.Parameter]:
    """Returns the layer's own constructor arguments by name."""
    parameters = dict(inspect.signature(layer).parameters)
    parameters.pop("kwargs")
    return parameters


def assert_all_tried(layer: type, cases: Sequence[Case]) -> None:
    """Asserts that cases cover a non-default value of every argument.

    Otherwise a `get_config` that writes the default would pass.
    """
    for name, parameter in constructor_arguments(layer).items():
        tried = [case.arguments.get(name, parameter.default) for case in cases]
        assert any(value != parameter.default for value in tried), name


def assert_refused(make: Callable[[], object], owner: str, given: str) -> None:
    """Asserts that a ValueError of `owner` reports an argument, NAME=VALUE."""
    name, value = given.split("=", 1)
    message = errors.message(ValueError, make)
    assert message.startswith(f"{owner}: `{name}` must "), message
    assert f"received {value}." in message, message


def assert_defaults_documented(layer: type) -> None:
    """Asserts that the docstring documents every argument's default."""
    assert documented_defaults(layer) == {
        name: parameter.default
        for name, parameter in constructor_arguments(layer).items()
        if parameter.default is not parameter.empty
    }


def _model(layer: keras.layers.Layer, case: Case) -> keras.Model:
    inputs = keras.Input(case.shape[1:])
    return keras.Model(inputs, layer(inputs))


def _exact(value: np.ndarray) -> np.ndarray:
    return value.astype(ml_dtypes.bfloat16).astype(np.float64)


def _numpy(tensor: Any) -> np.ndarray:
    # NumPy cannot compare bfloat16; float64 represents it exactly.
    return backends.numpy(tensor).astype(np.float64)


def _plain(name: str, value: Any) -> Any:
    if name.endswith("initializer"):
        return keras.initializers.serialize(keras.initializers.get(value))
    if name.endswith("activation"):
        return keras.activations.serialize(keras.activations.get(value))
    return json.loads(json.dumps(value))


def _assert_close(
    actual: Any, expected: np.ndarray, tolerance: float, what: str
) -> None:
    actual = _numpy(actual)
    assert actual.shape == expected.shape, what
    error = np.max(np.abs(actual - expected)) / np.max(np.abs(expected))
    assert error <= tolerance, f"{what}: error {error:.2e} > {tolerance:.2e}"
