"""Errors that a user can fix; programs print them without a traceback."""

import re


class WukongError(Exception):
    """Base of the errors raised for bad input, configuration or files."""


class ConfigError(WukongError, ValueError):
    """A configuration, feature specification or flag breaks a rule."""


class DataError(WukongError, ValueError):
    """A data file or a row in it breaks a rule of the feature spec."""


class ContentError(DataError):
    """A data file differs from the one that its run was trained on."""


class RunError(WukongError, RuntimeError):
    """A run directory or checkpoint cannot be used as requested."""


class TrainingError(WukongError, RuntimeError):
    """Training cannot continue, such as after a loss that is not finite."""


class ExportError(WukongError, RuntimeError):
    """An exported version could not be created, verified or published."""


class LostWorkerError(WukongError, RuntimeError):
    """Another worker of a run has exited or stopped responding."""


class InteropError(WukongError, ValueError):
    """Weights of another implementation cannot be converted exactly."""


def one_line(error: BaseException) -> str:
    """Returns an error's text on one line."""
    return " ".join(str(error).split())


def without_credentials(text: str) -> str:
    """Returns a text without the users and passwords of URLs."""
    return re.sub(r"//[^/\s]*@", "//", text)
