"""The stages of an export: what is written, and how it is held to the run."""

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
    """The rows that smaller forms are held to.

    Raises:
        ExportError: they cannot be read; the message says what to give.
    """
    spec = runs.read_features(settings.run_dir)
    try:
        if settings.eval_data:
            return open_files(settings.eval_data, spec)
        return reopen(os.path.join(settings.run_dir, runs.HELD_OUT), spec)
    except DataError as error:
        raise ExportError(
            f"--tables={settings.tables} --onnx_dense={settings.onnx_dense}: a "
            f"smaller form needs held-out rows with labels: {error} Name "
            "files with --eval_data."
        ) from error


def write(
    settings: Export, formats, served, folder: str, source: Source | None = None
) -> list[Artifact]:
    """Writes each format into `folder`; returns them, loaded back.

    Args:
        settings: of the export.
        formats: names of the formats.
        served: the ServedModel.
        folder: of the version.
        source: held-out rows, by which products of int8 are calibrated.
            Defaults to None, where there are none of these.
    """
    artifacts = []
    rows: tuple[quality.Columns, ...] = ()
    if settings.onnx_dense != "float32" and source is not None:
        rows = quality.calibration(served, source)
    for name in formats:
        if name == saved_model.NAME:
            saved_model.write(served, folder)
            artifacts += saved_model.load(served, folder)
            print(f"{name}: {len(served.functions())} signatures", flush=True)
            continue
        options = onnx_model.Options(
            opset=settings.opset, dense=settings.onnx_dense, calibration=rows
        )
        before, after = onnx_model.write(served, folder, options, name)
        tolerance = None
        if settings.onnx_dense != "float32":  # held to limits of its own
            tolerance = settings.max_logit_change
        artifacts += onnx_model.load(served, folder, name, tolerance)
        print(f"{name}: {before} operators became {after}", flush=True)
    return artifacts


def changes(
    settings: Export, served, artifacts, source: Source
) -> quality.Report:
    """What the smaller forms change on held-out rows."""
    forms: dict[str, quality.Scorer] = {}
    for artifact in artifacts:
        if artifact.takes in ("ids", "rows"):
            forms[artifact.name] = quality.of_artifact(served, artifact)
        elif served.precision != "float32":
            forms.setdefault(
                saved_model.NAME, quality.of_ids(served, stored=True)
            )
    limits = quality.Limits(
        settings.max_auc_change,
        settings.max_ne_change,
        settings.max_logit_change,
    )
    return quality.measure(served, forms, source, limits)


def write_requests(settings: Export, formats, served, samples, folder: str):
    """Warm-up requests, which are run, and examples to copy.

    Raises:
        ExportError: a request cannot be run.
    """
    sizes, name = settings.warm_up_sizes, settings.model_name
    examples.write(served, samples, folder, name)
    if saved_model.NAME not in formats:
        return
    count = warmup.write(served, samples, folder, name, sizes)
    if warmup.replay(folder) != count:
        raise ExportError(f"{warmup.FILE}: not all requests can be read.")
    print(f"warm-up: {count} requests of {sizes} rows were run")
