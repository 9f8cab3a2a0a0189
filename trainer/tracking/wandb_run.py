"""A run of Weights & Biases, set up by its own variables."""

import os
from typing import Any

import wandb

from trainer.tracking.tracker import Start, Status

LONGEST_TAG = 64
_EXIT = {"finished": 0, "stopped": 75, "failed": 1}


class WandbRun:
    """A run of Weights & Biases, whose id is that of the trainer's run."""

    def start(self, start: Start, known: str | None) -> tuple[str, str]:
        """Begins the run, or continues it."""
        tags = [f"{key}:{value}" for key, value in start.tags.items()]
        self._id = start.run
        # Beside the offline files that refer to it; HOME may be read-only.
        os.environ.setdefault("WANDB_DATA_DIR", start.folder)
        self._run = wandb.init(
            id=start.run,
            resume="allow",
            name=start.name,
            group=start.tags.get("study"),
            tags=[tag[:LONGEST_TAG] for tag in tags],
            dir=None if "WANDB_DIR" in os.environ else start.folder,
            settings=wandb.Settings(console="off", silent=True),
        )
        self._run.config.update(start.parameters, allow_val_change=True)
        self._run.define_metric("*", step_metric="step")
        did = "resumes" if known else "begins"
        place = self._run.dir if self._run.offline else self._run.url
        return start.run, f"run {start.run} {did}: {place}"

    def metrics(self, step: int, time: float, values: dict[str, Any]) -> None:
        """Adds numbers of a step."""
        self._run.log({**values, "step": step})

    def report(self, folder: str) -> None:
        """Adds the files of the report as an artifact."""
        artifact = wandb.Artifact(f"report-{self._id}", type="report")
        artifact.add_dir(folder)
        self._run.log_artifact(artifact)

    def finish(self, status: Status) -> None:
        """Ends the run, once all is sent."""
        if status == "stopped":
            self._run.mark_preempting()
        self._run.finish(exit_code=_EXIT[status])
