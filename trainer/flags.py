"""Every flag of the trainer, in one place."""

import dataclasses
from typing import Any

from absl import flags

from wukong_tf.config import MODEL_CONFIGS, sizes_for

MODES = ("train", "eval", "predict", "plan")

# Kind and meaning of the flags that set a field of a model's configuration.
SIZES = {
    "embedding_dim": ("int", "d, width of embeddings"),
    "num_layers": ("int", "l, number of interaction layers"),
    "num_fmb": (
        "list",
        "n_F, embeddings out of each factorization machine block: one "
        "number, or one for each layer",
    ),
    "num_lcb": (
        "list",
        "n_L, embeddings out of each linear compress block: one number, or "
        "one for each layer",
    ),
    "rank": (
        "list",
        "k, columns of the FM's projection Y: one number, or one for each "
        "layer",
    ),
    "mlp_units": (
        "list",
        "Hidden units of the FM blocks' MLP; with slashes between layers for "
        "one list a layer, such as 512,512/256",
    ),
    "fm": (
        "string",
        "full (X X^T), projected (X X^T Y) or attentive (Y made from X)",
    ),
    "attention_embeddings": (
        "int",
        "Rows that X is compressed to before --fm=attentive makes Y of it",
    ),
    "attention_units": ("list", "Hidden units of the MLP that makes that Y"),
    "remove": (
        "list",
        "Parts to leave out of every interaction layer, for ablations: fmb, "
        "lcb, residual, or linear_path for both of the last",
    ),
    "bottom_mlp_units": (
        "list",
        "Hidden units of the MLPs that embed numeric and vector features",
    ),
    "numeric_embeddings": (
        "int",
        "Rows of X_0 that the numeric features together give",
    ),
    "head_units": ("list", "Hidden units of the last MLP"),
    "num_cross_layers": ("int", "Layers of DCN-V2's cross network"),
    "projection_dim": ("int", "Rank of DCN-V2's cross layers"),
    "structure": ("string", "stacked or parallel, of DCN-V2"),
    "dropout": ("float", "Rate after the hidden layers of blocks and heads"),
    "embedding_dropout": ("float", "Rate on the embeddings"),
    "table_initial_scale": (
        "float",
        "Tables start uniform in [-scale, scale]",
    ),
}


FIRST_ORDER_RATE = 0.05


def define():
    """Defines the flags; call it once, before they are parsed."""
    _run()
    _data()
    _model()
    _training()
    _evaluation()
    _distribution()
    _machine()


def _run():
    flags.DEFINE_enum(
        "mode",
        "train",
        MODES,
        "train: train, evaluate and report; the same command goes on after "
        "a stop. eval: metrics of a trained run. predict: scores of "
        "--predict_files as Parquet. plan: print tables, rows, bytes and "
        "parameters without training.",
    )
    flags.DEFINE_string(
        "run_dir",
        None,
        "Directory of the run: configuration, checkpoints, metrics, report. "
        "Made if it is missing. Needed by all modes but plan.",
    )
    flags.DEFINE_string(
        "init_from",
        None,
        "Run directory whose weights a new run starts from. Rows of tables "
        "are mapped by their vocabulary, parameters by their features; what "
        "is new is initialized.",
    )
    flags.DEFINE_string(
        "init_checkpoint",
        "best",
        'Checkpoint of --init_from: "best", "latest" or a step.',
    )
    flags.DEFINE_bool(
        "init_optimizer",
        True,
        "Take the optimizers' state of --init_from too.",
    )
    flags.DEFINE_list(
        "compare_runs",
        [],
        "Directories of finished runs whose metrics the report sets beside "
        "this run's.",
    )
    flags.DEFINE_string(
        "checkpoint",
        "best",
        'Checkpoint for eval and predict: "best", "latest" or a step.',
    )
    flags.DEFINE_list(
        "keep_units",
        [],
        "For eval and predict: units to keep of features that have several, "
        "one number for all of them or FEATURE:NUMBER,... Default: all.",
    )
    flags.DEFINE_string(
        "output",
        None,
        "File that predict writes scores to, as Parquet, and eval its metrics, "
        "as JSON.",
    )


def _data():
    flags.DEFINE_string(
        "data_dir",
        None,
        "Directory that trainer.prepare wrote: features.json, and "
        "train*.parquet, valid*.parquet and test*.parquet, or the same as "
        "*.tfrecord.",
    )
    flags.DEFINE_string(
        "features",
        None,
        "Feature spec, a JSON file. Default: DATA_DIR/features.json.",
    )
    for split in ("train", "valid", "test"):
        flags.DEFINE_list(
            f"{split}_files",
            None,
            f"Files or globs of the {split} rows, comma-separated: Parquet, "
            "or uncompressed TFRecord of tf.Example (*.tfrecord). Default: "
            f"DATA_DIR/{split}*.parquet, or {split}*.tfrecord.",
        )
    flags.DEFINE_list(
        "predict_files",
        None,
        "Parquet or TFRecord files or globs to score with --mode=predict; "
        "they need no label column.",
    )
    flags.DEFINE_enum(
        "on_bad_value",
        "error",
        ("error", "count"),
        "What to do with a value that breaks its column's rule. error: end "
        "the run with the file, row, column, rule and value. count: read it "
        "as missing, and count it by column.",
    )
    flags.DEFINE_float(
        "max_bad_fraction",
        0.01,
        "With --on_bad_value=count: end the run where more than this share "
        "of the rows read is bad in one column.",
        lower_bound=0.0,
        upper_bound=1.0,
    )
    flags.DEFINE_bool(
        "allow_file_overlap",
        False,
        "Let a file be in the train split and in another one.",
    )
    flags.DEFINE_integer(
        "shuffle_rows",
        262_144,
        "Training rows shuffled together, in rows; 0 reads in file order. "
        "About two such windows are in memory at a time.",
        lower_bound=0,
    )
    flags.DEFINE_list(
        "units",
        [],
        "Units of categorical features, FEATURE:NUMBER,..., over what the "
        "feature spec says. An important feature may own several embeddings, "
        "each a row of X_0.",
    )
    flags.DEFINE_float(
        "unit_dropout",
        None,
        "Share of training steps in which a feature with several units keeps "
        "only some first ones, for all such features, over what the feature "
        "spec says. What is trained so can be cut by --keep_units.",
    )
    flags.DEFINE_bool(
        "synthetic",
        False,
        "Train on a synthetic click log whose true probabilities are known, "
        "instead of on files.",
    )
    for split, rows in (
        ("train", 2_000_000),
        ("valid", 100_000),
        ("test", 200_000),
    ):
        flags.DEFINE_integer(
            f"synthetic_{split}_rows",
            rows,
            f"Rows of the synthetic {split} split (an epoch of it).",
            lower_bound=1,
        )
    flags.DEFINE_list(
        "synthetic_tasks",
        ["click"],
        "Tasks of the synthetic log: click, or click,conversion, where only "
        "clicked rows have a label for conversion.",
    )
    flags.DEFINE_integer(
        "synthetic_seed", 0, "Seed of the synthetic log.", lower_bound=0
    )


def _model():
    flags.DEFINE_enum(
        "model",
        "wukong",
        tuple(MODEL_CONFIGS),
        "Model to train. Each of the flags of sizes below belongs to the "
        "models whose configuration has a field of its name.",
    )
    flags.DEFINE_string(
        "preset",
        None,
        "Sizes of a Wukong by name, such as internal_5.6gf or "
        "criteo_l3_n16_mlp2x1024; docs/scaling.md lists them. A flag of a "
        "size given beside it wins.",
    )
    define: dict[str, Any] = {
        "int": flags.DEFINE_integer,
        "float": flags.DEFINE_float,
        "list": flags.DEFINE_list,
        "string": flags.DEFINE_string,
    }
    for name, (kind, text) in SIZES.items():
        text = f"{text}. Default: {_defaults(name)}."
        define[kind](name, None, text)
    flags.DEFINE_enum(
        "lookup",
        "tfrs",
        ("tfrs", "take"),
        "Engine that looks tables up in training: TensorFlow Recommenders, "
        "or keras.ops.take, which also runs where that is not installed.",
    )
    flags.DEFINE_enum(
        "precision",
        "float32",
        ("float32", "bfloat16", "float64"),
        "Arithmetic of the dense part; tables, norms, logits and loss are "
        "float32 in the first two. float64, of all of it, is for comparing "
        "runs to more digits; plans of memory count it as float32. float16 "
        "is not offered.",
    )
    flags.DEFINE_bool(
        "remat",
        False,
        "Compute each interaction layer again on the way back instead of "
        "keeping what it made: less memory for a third more time. Wukong "
        "alone, and without dropout.",
    )
    flags.DEFINE_bool(
        "jit_compile",
        False,
        "Compile the dense part, from X_0 to the logits and back, by XLA; "
        "the tables' lookup and update stay outside.",
    )


def _defaults(name):
    """The default of a size, with the models that have another one."""
    found: dict[str, list[str]] = {}
    for model, config in MODEL_CONFIGS.items():
        for field in dataclasses.fields(config):
            if field.name == name:
                default = field.default
                if default is None and name in sizes_for(1):
                    default = "by the number of embeddings"
                elif default is None and name == "rank":
                    default = "8, or the embeddings that enter a layer"
                elif isinstance(default, tuple):
                    default = ",".join(map(str, default)) or '""'
                found.setdefault(str(default), []).append(model)
    if len(found) == 1:
        return next(iter(found))
    return "; ".join(
        f"{default} ({', '.join(models)})" for default, models in found.items()
    )


def _training():
    flags.DEFINE_integer(
        "batch_size", 1024, "Rows of a training step.", lower_bound=1
    )
    flags.DEFINE_integer(
        "epochs", 1, "Most passes over the train split.", lower_bound=1
    )
    flags.DEFINE_integer(
        "max_steps", 0, "Most training steps; 0 for no limit.", lower_bound=0
    )
    flags.DEFINE_float(
        "learning_rate", 1e-3, "Adam's rate, for the dense part."
    )
    flags.DEFINE_float(
        "table_learning_rate", 0.05, "Rowwise Adagrad's rate, for tables."
    )
    flags.DEFINE_float(
        "first_order_learning_rate",
        None,
        "Adam's rate for the weights of first order in "
        "--model=logistic_regression and fm: those of numbers, and biases. "
        "Tables of logistic regression learn at four times it. Default: "
        f"{FIRST_ORDER_RATE}, or what --learning_rate and "
        "--table_learning_rate say for logistic regression.",
    )
    flags.DEFINE_float(
        "embedding_l2",
        0.0,
        "Weight decay of tables: adds embedding_l2 * row to the gradient of "
        "the rows that --embedding_l2_scope says.",
    )
    flags.DEFINE_enum(
        "embedding_l2_scope",
        "touched",
        ("touched", "all"),
        "Rows that --embedding_l2 decays in a step. touched: those in the "
        "batch, once each, at no cost for the others. all: every row of "
        "every table in every step, which costs O(rows) time a step and "
        "several times the tables' memory.",
    )
    for name, text in (
        ("table_initial_scales", "Initial scale of some tables' rows"),
        ("table_learning_rates", "Learning rate of some tables' rows"),
        ("table_l2s", "Weight decay of some tables' rows"),
    ):
        flags.DEFINE_list(
            name,
            [],
            f"{text}, TABLE:NUMBER,..., over what the feature spec says.",
        )
    flags.DEFINE_list(
        "negative_rate",
        [],
        "Share of negative rows that the log kept: one number, or "
        "TASK:NUMBER for each of several tasks, over what the feature spec "
        "says. Below 1, log(share) is added to the logits that are served, "
        "and metrics count a negative row 1 / share times.",
    )
    flags.DEFINE_integer(
        "warmup_steps",
        0,
        "Steps over which both rates rise linearly to their full value.",
        lower_bound=0,
    )
    flags.DEFINE_float(
        "clipnorm",
        0.0,
        "Largest global norm of the dense part's gradient; 0 clips nothing.",
    )
    flags.DEFINE_float(
        "average_weights",
        0.0,
        "Decay of a running average of the dense part, such as 0.999, which "
        "is evaluated, saved and served in place of the last weights; 0 for "
        "none. Tables are not averaged, as that would touch all their rows.",
    )
    flags.DEFINE_integer(
        "seed",
        0,
        "Seed of weights, dropout and the order of rows.",
        lower_bound=0,
        upper_bound=2**32 - 1,
    )
    flags.DEFINE_integer(
        "steps_per_loop",
        100,
        "Steps that run before the host looks up: to log, and to see a signal.",
        lower_bound=1,
    )
    flags.DEFINE_integer(
        "checkpoint_every_steps",
        0,
        "Steps between checkpoints, beside those at each evaluation and at "
        "a stop; 0 for only those.",
        lower_bound=0,
    )
    flags.DEFINE_integer(
        "keep_checkpoints",
        3,
        "Newest checkpoints kept; the best is kept beside them.",
        lower_bound=1,
    )
    flags.DEFINE_integer(
        "keep_checkpoint_every_steps",
        0,
        "Keep checkpoints whose step is a multiple of this too; 0 for none.",
        lower_bound=0,
    )
    flags.DEFINE_bool(
        "async_checkpoints",
        True,
        "Write checkpoints beside training, from a copy of the weights. Where "
        "the host's memory does not allow a copy, training waits.",
    )
    flags.DEFINE_float(
        "checkpoint_retry_s",
        30.0,
        "Seconds after which a checkpoint that could not be written, as on a "
        "full disk, is tried again.",
        lower_bound=0.0,
    )


def _evaluation():
    flags.DEFINE_enum(
        "eval",
        "splits",
        ("splits", "progressive"),
        "splits: evaluate on the valid split. progressive: one pass, each "
        "batch scored before it is trained on, files in the order given and "
        "rows shuffled within windows alone; a valid split is evaluated too, "
        "where there is one.",
    )
    flags.DEFINE_integer(
        "progressive_window_rows",
        1_000_000,
        "Rows of a window of --eval=progressive.",
        lower_bound=1,
    )
    flags.DEFINE_integer(
        "eval_batch_size", 8192, "Rows of an evaluation step.", lower_bound=1
    )
    flags.DEFINE_integer(
        "eval_every_steps",
        0,
        "Training steps between evaluations on the valid split; 0 evaluates "
        "at the end of each epoch.",
        lower_bound=0,
    )
    flags.DEFINE_integer(
        "patience",
        0,
        "Stop after this many evaluations in a row without a better one; 0 "
        "never stops early.",
        lower_bound=0,
    )
    flags.DEFINE_float(
        "eval_negative_rate",
        None,
        "Share of negative rows that the valid and test rows kept, where it "
        "is not --negative_rate: 1 where they are a whole log.",
        lower_bound=0.0,
        upper_bound=1.0,
    )
    flags.DEFINE_string(
        "early_stopping_task",
        "",
        "Task whose metric chooses the best checkpoint. Default: the first "
        "of the feature spec.",
    )
    flags.DEFINE_enum(
        "early_stopping_metric",
        "logloss",
        ("auc", "logloss", "ne", "group_auc"),
        "Metric on the valid split that chooses the best checkpoint and "
        "stops early.",
    )


def _distribution():
    flags.DEFINE_enum(
        "strategy",
        "auto",
        ("auto", "one", "mirrored", "multi_worker"),
        "one: one device. mirrored: all GPUs of this process, or "
        "--cpu_replicas. multi_worker: one process of several, which "
        "TF_CONFIG or the variables of a SLURM step name. auto: the last "
        "where they do, else mirrored where there are several GPUs.",
    )
    flags.DEFINE_integer(
        "cpu_replicas",
        0,
        "Replicas of --strategy=mirrored on a machine without GPUs, each on a "
        "logical CPU; 0 for none.",
        lower_bound=0,
    )
    flags.DEFINE_enum(
        "collectives",
        "auto",
        ("auto", "nccl", "ring"),
        "How replicas of several workers sum: NCCL, or a ring over gRPC. "
        "auto: NCCL on GPUs, else the ring.",
    )
    flags.DEFINE_enum(
        "table_exchange",
        "auto",
        ("auto", "gather", "reduce"),
        "How replicas sum the gradients of tables. gather: each gets the "
        "different rows of the others. reduce: as a dense table. auto: for "
        "each width what sends less.",
    )
    flags.DEFINE_integer(
        "data_lanes",
        1,
        "Runs of rows, read side by side, that each batch takes an equal "
        "share of. They decide which rows make a batch. With as many as "
        "workers, or a multiple, each worker reads its own rows alone; with "
        "1, each reads all rows and uses its part.",
        lower_bound=1,
    )
    flags.DEFINE_integer(
        "worker_timeout_s",
        30,
        "Seconds without a sign of life of a worker after which the others "
        "end, naming it.",
        lower_bound=1,
    )
    flags.DEFINE_integer(
        "cluster_timeout_s",
        300,
        "Seconds to wait for all workers at the start.",
        lower_bound=1,
    )


def _machine():
    flags.DEFINE_float(
        "hang_timeout_s",
        600.0,
        "Seconds without a training step after which each worker prints the "
        "stacks of its threads; 0 for never. The first step is compiled "
        "within it.",
        lower_bound=0.0,
    )
    flags.DEFINE_string(
        "profile_steps",
        "",
        "FIRST:LAST, steps from 0 that each worker profiles for TensorBoard.",
    )
    flags.DEFINE_integer(
        "intra_op_threads",
        0,
        "Threads within one operation; 0 lets TensorFlow choose.",
        lower_bound=0,
    )
    flags.DEFINE_integer(
        "inter_op_threads",
        0,
        "Operations run at once; 0 lets TensorFlow choose.",
        lower_bound=0,
    )
    flags.DEFINE_bool(
        "deterministic",
        False,
        "Make TensorFlow refuse or replace operations whose result can "
        "differ from run to run.",
    )
    flags.DEFINE_enum(
        "table_device",
        "auto",
        ("auto", "accelerator", "cpu"),
        "Where tables and their optimizer state lie. auto: on the "
        "accelerator as many as it holds beside the dense part, the smallest "
        "first, and the others in the host's memory.",
    )
    for place, text in (
        ("accelerator", "the smallest accelerator, less a tenth"),
        ("host", "the host, or of its control group"),
    ):
        flags.DEFINE_float(
            f"{place}_memory_gib",
            None,
            f"Memory for the plan of tables, in GiB. Default: that of {text}.",
            lower_bound=0.0,
        )
