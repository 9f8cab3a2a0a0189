"""The stages of an export: writing a version and comparing it with the run."""

import os

from export.flags import Export
from export.formats import saved_model
from export.formats.artifact import Artifact
from export.formats.onnx import model as onnx_model
from export.proof import quality
from export.version import examples, warmup
from trainer.data.held_out import open_files, reopen
from trainer.data.source import Source
from wukong_tf import runs
from wukong_tf.errors import DataError, ExportError


def held_out(settings: Export) -> Source:
    """Returns the rows on which smaller forms are compared with the run.

    Raises:
        ExportError: if they cannot be read.
    """
    spec = runs.read_features(settings.run_dir)
    try:
        if settings.eval_data:
            return open_files(settings.eval_data, spec)
        return reopen(os.path.join(settings.run_dir, runs.HELD_OUT), spec)
    except DataError as error:
        raise ExportError(
            f"--tables={settings.tables} --onnx_dense={settings.onnx_dense}: "
            f"reduced precision needs held-out rows with labels: {error} "
            "Specify files with --eval_data."
        ) from error


def write(
    settings: Export, formats, served, folder: str, source: Source | None = None
) -> list[Artifact]:
    """Writes each format into `folder` and loads it back.

    Args:
        settings: the export's settings.
        formats: names of the formats.
        served: the ServedModel.
        folder: the version's directory.
        source: held-out rows to calibrate int8 products with. Defaults to
            None, if there are no such products.
    """
    artifacts = []
    batches: tuple[quality.Columns, ...] = ()
    if settings.onnx_dense != "float32" and source is not None:
        batches = quality.calibration(served, source)
    for name in formats:
        if name == saved_model.NAME:
            saved_model.write(served, folder)
            artifacts += saved_model.load(served, folder)
            print(f"{name}: {len(served.functions())} signatures", flush=True)
            continue
        options = onnx_model.Options(
            opset=settings.opset, dense=settings.onnx_dense, calibration=batches
        )
        before, after = onnx_model.write(served, folder, options, name)
        tolerance = None
        if settings.onnx_dense != "float32":  # has its own limits
            tolerance = settings.max_logit_change
        artifacts += onnx_model.load(served, folder, name, tolerance)
        print(f"{name}: {after} operators, {before} before", flush=True)
    return artifacts


def changes(
    settings: Export, served, artifacts, source: Source
) -> quality.Report:
    """Measures what the smaller forms change on held-out rows."""
    forms: dict[str, quality.Scorer] = {}
    for artifact in artifacts:
        if artifact.takes in ("ids", "rows"):
            forms[artifact.name] = quality.scorer_from_artifact(
                served, artifact
            )
        elif served.precision != "float32":
            forms.setdefault(
                saved_model.NAME, quality.scorer_from_model(served, stored=True)
            )
    limits = quality.Limits(
        settings.max_auc_change,
        settings.max_ne_change,
        settings.max_logit_change,
    )
    return quality.measure(served, forms, source, limits)


def write_requests(settings: Export, formats, served, samples, folder: str):
    """Writes and runs the warm-up requests; writes examples to copy.

    Raises:
        ExportError: if a request cannot be run.
    """
    sizes, name = settings.warm_up_sizes, settings.model_name
    examples.write(served, samples, folder, name)
    if saved_model.NAME not in formats:
        return
    count = warmup.write(served, samples, folder, name, sizes)
    session = saved_model.signature_session(served, folder)
    if warmup.replay(folder, session) != count:
        raise ExportError(f"{warmup.FILE}: not all requests can be read.")
    print(f"warm-up: ran {count} requests of {sizes} rows")
