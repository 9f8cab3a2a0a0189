"""Publishes a trained run for serving: `python -m export.main --help`.

Exit codes: 0 published; 1 a fault in the program; 2 the flags, the run or
the output break a rule, or an artifact does not reproduce the run's scores;
130 interrupted. Nothing is published unless the exit code is 0.
"""

import os
import tempfile

from absl import flags as absl_flags

from export import flags, program
from trainer.placement import host_memory
from trainer.process import loading
from trainer.settings import fields


def check(settings: flags.Export) -> None:
    """Raises WukongError if the run, checkpoint or units do not exist."""
    from wukong_tf import runs

    runs.check_run(
        settings.run_dir,
        settings.checkpoint,
        keep_units=runs.parse_keep_units(settings.keep_units),
    )


def export(settings: flags.Export) -> str:
    """Writes, verifies and publishes a version; returns its directory."""
    from export import stages
    from export.proof import parity
    from export.served import signatures
    from export.version import card, manifest, publish, triton
    from trainer.preparation import recorded

    formats = [name for name in flags.FORMATS if name in settings.format]
    held_out = stages.held_out(settings) if settings.is_smaller else None
    with (
        publish.draft(settings.output, settings.version) as draft,
        tempfile.TemporaryDirectory() as vocabularies,
        tempfile.TemporaryDirectory() as rows,
    ):
        model, checkpoint = load(settings, rows)
        served = signatures.ServedModel(
            model,
            vocabularies,
            precision=settings.tables,
            context=settings.context_features,
            origin=manifest.origin(checkpoint, draft.version, settings),
        )
        samples = parity.read_samples(settings.run_dir, served.spec)
        artifacts = stages.write(
            settings, formats, served, draft.path, held_out
        )
        # Rows are looked up for what follows, or for an artifact.
        read = held_out is not None or any(a.takes == "rows" for a in artifacts)
        report = parity.compare(
            served, samples, artifacts, free_tables=not read
        )
        report.check()
        print(report.describe())
        changes = None
        if held_out is not None:
            changes = stages.changes(settings, served, artifacts, held_out)
            changes.check()
            print(changes.describe())
        stages.write_requests(settings, formats, served, samples, draft.path)
        manifest.write_features(served.spec, draft)
        recorded.copy(settings.run_dir, draft.path)
        content = manifest.describe(
            served, checkpoint, report, formats, changes, settings
        )
        card.write(content, settings, checkpoint, served, draft.path)
        manifest.write(content, settings.run_dir, draft)
    print(f"published {draft.final} ({publish.size_text(draft.final)})")
    if settings.triton:
        name = settings.model_name
        triton.write(draft.final, settings.triton, name, settings.warm_up_sizes)
        print(f"copied for Triton to {os.path.join(settings.triton, name)}")
    highest = publish.versions(settings.output)[-1]
    if highest > draft.version:
        print(
            f"version {highest} is higher; servers that load the latest "
            "version keep serving it"
        )
    return draft.final


def load(settings: flags.Export, folder: str):
    """Returns the float32 model, with the take lookup, and its checkpoint.

    Args:
        settings: the export's settings.
        folder: directory for the files of tables that are mapped.
    """
    import wukong_tf
    from wukong_tf import runs

    mapped = _maps_tables(settings)
    if mapped:
        print(f"tables are mapped from files in {settings.output}")
    checkpoint = runs.find_checkpoint(settings.run_dir, settings.checkpoint)
    # Load by step: "latest" may have changed in the meantime.
    model = wukong_tf.load_run(
        settings.run_dir,
        checkpoint.step,
        keep_units=runs.parse_keep_units(settings.keep_units),
        map_tables=folder if mapped else None,
    )
    print(
        f"{settings.run_dir}: checkpoint {settings.checkpoint!r} is step "
        f"{checkpoint.step}; {model.count_params():,} parameters"
    )
    return model, checkpoint


def _maps_tables(settings):
    if settings.map_tables != "auto":
        return settings.map_tables == "always"
    from wukong_tf.runs import read_model_config
    from wukong_tf.scaling import cost

    free = host_memory.available_bytes()
    size = cost(read_model_config(settings.run_dir)).table_bytes
    return free is not None and size > free / 2


def run(argv, values: absl_flags.FlagValues) -> int:
    """Exports as configured by the flags `values`; returns the exit code."""

    def work():
        settings = fields.from_flags(flags.Export, values)
        check(settings)
        loading.load_tensorflow()
        settings.check_packages()
        export(settings)

    return program.exit_code(argv, work, "interrupted; nothing was published")


def main():
    """Runs the command `wukong-export`."""
    program.start(__doc__, flags.define, run)


if __name__ == "__main__":
    main()
