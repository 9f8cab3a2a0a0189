"""Publishes a trained run for serving: `python -m export.main --help`.

Exit codes: 0 published; 1 a fault in the program; 2 the flags, the run or
the output break a rule, or an artifact does not give the run's scores; 130
interrupted. Nothing is published but with exit code 0.
"""

import os
import sys
import tempfile

from absl import app, logging
from absl import flags as absl_flags

from wukong_tf.errors import ConfigError, RunError, WukongError

FORMATS = ("saved_model", "onnx")
EXIT_ERROR = 2
EXIT_INTERRUPTED = 130


def define_flags(values: absl_flags.FlagValues):
    """Defines the flags; call it once, before they are parsed."""
    absl_flags.DEFINE_string(
        "run_dir",
        None,
        "Run directory of a trained model. Needed.",
        flag_values=values,
    )
    absl_flags.DEFINE_string(
        "output",
        None,
        "Directory that holds the versions, such as TensorFlow Serving's "
        "model_base_path. Made if it is missing. Needed.",
        flag_values=values,
    )
    absl_flags.DEFINE_list(
        "format",
        list(FORMATS),
        f"What to write, comma-separated: {', '.join(FORMATS)}.",
        flag_values=values,
    )
    absl_flags.DEFINE_string(
        "checkpoint",
        "best",
        'Checkpoint to export: "best", "latest" or a step.',
        flag_values=values,
    )
    absl_flags.DEFINE_list(
        "keep_units",
        [],
        "Units to keep of features that have several: one number for all of "
        "them, or FEATURE:NUMBER,... The columns of the others are not in "
        "what is published. Default: all units.",
        flag_values=values,
    )
    absl_flags.DEFINE_integer(
        "version",
        None,
        "Version to publish. Default: the time in seconds since 1970, or one "
        "above the highest version of --output where that is more. A version "
        "that exists is never overwritten.",
        lower_bound=1,
        upper_bound=2**63 - 1,
        flag_values=values,
    )


def check_flags(values):
    """Refuses flags that are missing or wrong."""
    for name in ("run_dir", "output"):
        if not getattr(values, name):
            raise ConfigError(f"--{name} is needed.")
    if not values.format:
        raise ConfigError("--format is empty; name at least one format.")
    for name in values.format:
        if name not in FORMATS:
            raise ConfigError(
                f"--format must hold some of {list(FORMATS)}; received "
                f"{name!r}."
            )
    if not os.path.isdir(values.run_dir):
        raise RunError(f"--run_dir={values.run_dir} is no directory.")


def export(values) -> str:
    """Writes, proves and publishes a version; returns its directory."""
    from export import manifest, parity, publish, signatures

    formats = _formats(values.format)
    with (
        publish.draft(values.output, values.version) as draft,
        tempfile.TemporaryDirectory() as vocabularies,
    ):
        model, checkpoint = load(values)
        served = signatures.ServedModel(model, vocabularies)
        written = []
        for name, module in formats.items():
            module.write(served, draft.path)
            written.append(module.load(served, draft.path))
            print(f"{name}: written", flush=True)
        samples = parity.read_samples(values.run_dir, served.spec)
        report = parity.compare(served, samples, written)
        report.check()
        print(report.describe())
        manifest.write_features(served.spec, draft)
        content = manifest.describe(served, checkpoint, report, formats)
        manifest.write(content, values.run_dir, draft)
    print(f"published {draft.final} ({publish.size_text(draft.final)})")
    highest = publish.versions(values.output)[-1]
    if highest > draft.version:
        print(
            f"a server that loads the latest version goes on with {highest}, "
            "which is higher"
        )
    return draft.final


def load(values):
    """The model in float32 with the take lookup, and its checkpoint."""
    import wukong_tf
    from wukong_tf import runs

    checkpoint = runs.find_checkpoint(values.run_dir, values.checkpoint)
    # By its step: "latest" may have become another one meanwhile.
    model = wukong_tf.load_run(
        values.run_dir,
        checkpoint.step,
        keep_units=runs.parse_keep_units(values.keep_units),
    )
    print(
        f"{values.run_dir}: checkpoint {values.checkpoint!r} is step "
        f"{checkpoint.step}; {model.count_params():,} parameters"
    )
    return model, checkpoint


def _formats(names):
    """The module of each format that was asked for, in FORMATS' order."""
    from export import onnx_model, saved_model

    modules = {"saved_model": saved_model, "onnx": onnx_model}
    return {name: modules[name] for name in FORMATS if name in names}


def run(argv, values: absl_flags.FlagValues) -> int:
    """Exports as the flags in `values` say; returns the exit code."""
    try:
        if len(argv) > 1:
            raise WukongError(f"unexpected arguments: {argv[1:]}.")
        check_flags(values)
        export(values)
    except WukongError as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_ERROR
    except KeyboardInterrupt:
        print("interrupted; nothing was published", file=sys.stderr)
        return EXIT_INTERRUPTED
    return 0


def main():
    """Entry point of `wukong-export`."""
    # Nothing has imported Keras or TensorFlow yet. The artifacts are
    # TensorFlow's, whatever Keras is set to elsewhere, and parity is held on
    # the CPU: accelerators round float32 products.
    os.environ["KERAS_BACKEND"] = "tensorflow"
    os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    values = absl_flags.FLAGS
    before = set(values)
    define_flags(values)
    for name in set(values) - before:
        # --help shows those of the program that was started.
        values.register_key_flag_for_module(sys.argv[0], values[name])
    app.run(_run_quietly)


def _run_quietly(argv):
    # Saving and converting log each of their stages.
    logging.set_verbosity(logging.ERROR)
    sys.exit(run(argv, absl_flags.FLAGS))


if __name__ == "__main__":
    main()
