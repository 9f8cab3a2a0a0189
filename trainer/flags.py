"""Every flag of the trainer, in one place."""

from absl import flags

MODES = ("train", "eval", "predict", "plan")


def define():
    """Defines the flags; call it once, before they are parsed."""
    _run()
    _data()
    _model()
    _training()
    _evaluation()
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
        "train*.parquet, valid*.parquet and test*.parquet.",
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
            f"Parquet files or globs of the {split} rows, comma-separated. "
            f"Default: DATA_DIR/{split}*.parquet.",
        )
    flags.DEFINE_list(
        "predict_files",
        None,
        "Parquet files or globs to score with --mode=predict; they need no "
        "label column.",
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
    flags.DEFINE_integer(
        "synthetic_seed", 0, "Seed of the synthetic log.", lower_bound=0
    )


def _model():
    flags.DEFINE_enum(
        "model",
        "wukong",
        ("wukong", "logistic_regression"),
        "Model to train. The flags of sizes below are Wukong's.",
    )
    flags.DEFINE_integer("embedding_dim", 16, "d, width of embeddings.")
    flags.DEFINE_integer("num_layers", 3, "l, number of interaction layers.")
    flags.DEFINE_list(
        "num_fmb",
        ["8"],
        "n_F, embeddings out of each factorization machine block: one "
        "number, or one for each layer.",
    )
    flags.DEFINE_list(
        "num_lcb",
        ["8"],
        "n_L, embeddings out of each linear compress block: one number, or "
        "one for each layer.",
    )
    flags.DEFINE_list(
        "rank",
        ["8"],
        "k, columns of the FM's projection Y: one number, or one for each "
        "layer.",
    )
    flags.DEFINE_list(
        "mlp_units", ["128"], "Hidden units of the FM blocks' MLP."
    )
    flags.DEFINE_string(
        "fm", "projected", '"projected" (X X^T Y) or "full" (X X^T).'
    )
    flags.DEFINE_list(
        "bottom_mlp_units",
        ["64"],
        "Hidden units of the MLPs that embed numeric and vector features.",
    )
    flags.DEFINE_list("head_units", ["128"], "Hidden units of the last MLP.")
    flags.DEFINE_float(
        "dropout", 0.0, "Rate after the hidden layers of blocks and head."
    )
    flags.DEFINE_float("embedding_dropout", 0.0, "Rate on the embeddings.")
    flags.DEFINE_float(
        "table_initial_scale",
        None,
        "Tables start uniform in [-scale, scale]. Default: 0.05, and 0 for "
        "logistic_regression.",
    )
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
        ("float32", "bfloat16"),
        "Arithmetic of the dense part; tables, norms, logits and loss are "
        "float32 in both. float16 is not offered.",
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
        "embedding_l2",
        0.0,
        "Adds embedding_l2 * row to the gradient of each table row that is "
        "in the batch, once a row and step.",
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


def _evaluation():
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
    flags.DEFINE_enum(
        "early_stopping_metric",
        "logloss",
        ("auc", "logloss", "ne", "group_auc"),
        "Metric on the valid split that chooses the best checkpoint and "
        "stops early.",
    )


def _machine():
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
