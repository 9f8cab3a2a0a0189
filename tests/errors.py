"""Assertions on the errors that a call raises."""

from collections.abc import Callable

import pytest

from wukong_tf.errors import ConfigError


def message(kind: type[Exception], call: Callable[[], object]) -> str:
    """Returns the message of the error of type `kind` that a call raises."""
    with pytest.raises(kind) as error:
        call()
    return str(error.value)


def assert_refused(call: Callable[[], object], *expected: str) -> None:
    """Asserts that a call raises ConfigError with `expected` in its message."""
    found = message(ConfigError, call)
    for text in expected:
        assert text in found, found
