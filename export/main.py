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

from export import flags
from wukong_tf.errors import WukongError

EXIT_ERROR = 2
EXIT_INTERRUPTED = 130


def export(values) -> str:
    """Writes, proves and publishes a version; returns its directory."""
    from export import manifest, parity, proof, publish, signatures

    formats = [name for name in flags.FORMATS if name in values.format]
    held_out = proof.held_out(values) if flags.smaller(values) else None
    with (
        publish.draft(values.output, values.version) as draft,
        tempfile.TemporaryDirectory() as vocabularies,
    ):
        model, checkpoint = load(values)
        served = signatures.ServedModel(
            model,
            vocabularies,
            precision=values.tables,
            context=values.context_features,
        )
        samples = parity.read_samples(values.run_dir, served.spec)
        artifacts = proof.write(values, formats, served, draft.path)
        report = parity.compare(served, samples, artifacts)
        report.check()
        print(report.describe())
        changes = None
        if held_out is not None:
            changes = proof.changes(values, served, artifacts, held_out)
            changes.check()
            print(changes.describe())
        proof.write_requests(values, formats, served, samples, draft.path)
        manifest.write_features(served.spec, draft)
        content = manifest.describe(
            served, checkpoint, report, formats, changes, values
        )
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


def run(argv, values: absl_flags.FlagValues) -> int:
    """Exports as the flags in `values` say; returns the exit code."""
    try:
        if len(argv) > 1:
            raise WukongError(f"unexpected arguments: {argv[1:]}.")
        flags.check(values)
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
    flags.define(values)
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
