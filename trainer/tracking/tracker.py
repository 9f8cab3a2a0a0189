"""The interface of an experiment tracker, and what it receives."""

import dataclasses
from typing import Any, Literal, Protocol

from trainer.settings import SECTIONS, Settings
from trainer.settings.fields import settings_of
from wukong_tf.errors import without_credentials

FOLDER = "tracking"  # of the run directory
Status = Literal["finished", "stopped", "failed"]
Parameter = bool | int | float | str


@dataclasses.dataclass(frozen=True)
class Start:
    """What a tracker knows of a run when it starts or resumes.

    Args:
        name: name of the run.
        run: unique id of the run, the same after it resumes.
        folder: directory for files of the tracker.
        parameters: the settings.
        tags: tags of the run.
    """

    name: str
    run: str
    folder: str
    parameters: dict[str, Parameter]
    tags: dict[str, str]


class Tracker(Protocol):
    """Interface of a tracker of one run; its methods return at once."""

    def start(self, start: Start) -> None:
        """Begins the run, or continues it."""
        ...

    def metrics(self, kind: str, step: int, values: dict[str, Any]) -> None:
        """Adds numbers of a step, by tags such as "valid/click/auc"."""
        ...

    def report(self, step: int, values: dict[str, Any], folder: str) -> None:
        """Adds the final report, its numbers by tag and its folder."""
        ...

    def finish(self, status: Status) -> None:
        """Ends the run; may wait up to a minute."""
        ...


def parameters_of(settings: Settings) -> dict[str, Parameter]:
    """Returns the settings by flag, without credentials of URLs.

    Lists are joined with commas; settings that are None are left out.
    """
    parameters: dict[str, Parameter] = {}
    for section, cls in SECTIONS.items():
        for field, _ in settings_of(cls):
            value = getattr(getattr(settings, section), field.name)
            if value is None or field.name.startswith("track"):
                continue
            if isinstance(value, tuple):
                value = ",".join(value)
            if isinstance(value, str):
                value = without_credentials(value)
            parameters[field.name] = value
    return parameters
