"""The stages of an export: what is written, and how it is held to the run."""

import os

from export import flags
from export.formats import saved_model
from export.formats.artifact import Artifact
from export.formats.onnx import model as onnx_model
from export.proof import quality
from export.version import examples, warmup
from trainer.data.held_out import open_files, reopen
from trainer.data.source import Source
from wukong_tf import runs
from wukong_tf.errors import DataError, ExportError


def held_out(values) -> Source:
    """The rows that smaller forms are held to.

    Raises:
        ExportError: they cannot be read; the message says what to give.
    """
    spec = runs.read_features(values.run_dir)
    try:
        if values.eval_data:
            return open_files(values.eval_data, spec)
        return reopen(os.path.join(values.run_dir, runs.HELD_OUT), spec)
    except DataError as error:
        raise ExportError(
            f"--tables={values.tables} --onnx_dense={values.onnx_dense}: a "
            f"smaller form needs held-out rows with labels: {error} Name "
            "files with --eval_data."
        ) from error


def write(
    values, formats, served, folder: str, source: Source | None = None
) -> list[Artifact]:
    """Writes each format into `folder`; returns them, loaded back.

    Args:
        values: the flags.
        formats: names of the formats.
        served: the ServedModel.
        folder: of the version.
        source: held-out rows, by which products of int8 are calibrated.
            Defaults to None, where there are none of these.
    """
    artifacts = []
    rows: tuple[quality.Columns, ...] = ()
    if values.onnx_dense != "float32" and source is not None:
        rows = quality.calibration(served, source)
    for name in formats:
        if name == saved_model.NAME:
            saved_model.write(served, folder)
            artifacts += saved_model.load(served, folder)
            print(f"{name}: {len(served.functions())} signatures", flush=True)
            continue
        options = onnx_model.Options(
            opset=values.opset, dense=values.onnx_dense, calibration=rows
        )
        before, after = onnx_model.write(served, folder, options, name)
        tolerance = None
        if values.onnx_dense != "float32":  # held to limits of its own
            tolerance = values.max_logit_change
        artifacts += onnx_model.load(served, folder, name, tolerance)
        print(f"{name}: {before} operators became {after}", flush=True)
    return artifacts


def changes(values, served, artifacts, source: Source) -> quality.Report:
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
        values.max_auc_change, values.max_ne_change, values.max_logit_change
    )
    return quality.measure(served, forms, source, limits)


def write_requests(values, formats, served, samples, folder: str):
    """Warm-up requests, which are run, and examples to copy.

    Raises:
        ExportError: a request cannot be run.
    """
    sizes, name = flags.batch_sizes(values), flags.model_name(values)
    examples.write(served, samples, folder, name)
    if saved_model.NAME not in formats:
        return
    count = warmup.write(served, samples, folder, name, sizes)
    if warmup.replay(folder) != count:
        raise ExportError(f"{warmup.FILE}: not all requests can be read.")
    print(f"warm-up: {count} requests of {sizes} rows were run")
