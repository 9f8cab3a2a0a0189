"""Looks at the errors that a call raises."""

from collections.abc import Callable

import pytest

from wukong_tf.errors import ConfigError


def assert_refused(call: Callable[[], object], *expected: str) -> None:
    """The call raises a ConfigError whose message has all of `expected`."""
    with pytest.raises(ConfigError) as error:
        call()
    message = str(error.value)
    for text in expected:
        assert text in message, message
