"""Looks at the errors that a call raises."""

from collections.abc import Callable

import pytest

from wukong_tf.errors import ConfigError


def message(kind: type[Exception], call: Callable[[], object]) -> str:
    """The message of the error of that kind which the call raises."""
    with pytest.raises(kind) as error:
        call()
    return str(error.value)


def assert_refused(call: Callable[[], object], *expected: str) -> None:
    """The call raises a ConfigError whose message has all of `expected`."""
    found = message(ConfigError, call)
    for text in expected:
        assert text in found, found
