"""Times stalls by checkpoints: `python -m benchmarks.checkpoint_stall`.

The model of benchmarks.mid_size with its optimizer state is saved alternately
in the background and while training waits (--async_checkpoints). The value is
the median over rounds of the time that training waits with a background copy
over that without. Bar: 0.25, chosen here.
"""

import json
import statistics
import sys
import tempfile

from absl import flags

from benchmarks import run_program

ROUNDS = flags.DEFINE_integer("rounds", 5, "Rounds.", lower_bound=1)
ROWS = flags.DEFINE_integer("rows", 2_000_000, "Rows of all tables.")

BAR = 0.25


def main(argv):
    """Runs the rounds and prints the result."""
    del argv
    from benchmarks import mid_size
    from trainer.checkpoints.writer import CheckpointWriter, Retention
    from wukong_tf.models import build_model
    from wukong_tf.runs.arrays import read_slots, training_slots

    model = build_model(mid_size.config(ROWS.value))
    slots = training_slots(model, mid_size.optimizers(model))
    saved: dict[bool, list] = {False: [], True: []}
    for _ in range(ROUNDS.value):
        for in_background in saved:
            with tempfile.TemporaryDirectory() as folder:
                writer = CheckpointWriter(
                    folder,
                    Retention(1, 0, "logloss"),
                    lambda line: print(line, file=sys.stderr),
                    in_background=in_background,
                )
                writer.save(1, {}, lambda: read_slots(slots))
                writer.close()
                saved[in_background] += writer.take_saved()
    ratios = [
        background.waited / direct.waited
        for background, direct in zip(saved[True], saved[False], strict=True)
    ]
    value = statistics.median(ratios)
    print(
        json.dumps(
            {
                "name": "checkpoint_stall",
                "value": round(value, 3),
                "bar": BAR,
                "holds": value <= BAR,
                "megabytes": round(saved[True][0].bytes / 1e6, 1),
                "waited_s": {
                    name: round(statistics.median(s.waited for s in saves), 3)
                    for name, saves in (
                        ("copy", saved[True]),
                        ("direct", saved[False]),
                    )
                },
                "written_s": round(
                    statistics.median(s.seconds for s in saved[True]), 3
                ),
            }
        )
    )


if __name__ == "__main__":
    run_program(main)
