"""Checks for optional packages that a mode needs."""

from trainer.report.files import DRAWS
from wukong_tf.extras import lack, require

LIBRARY_MODELS = ("dlrm", "dcn_v2")  # built from keras-rs layers


def check_packages(
    model: str, lookup: str, *, reports: bool = False, plots: bool = False
) -> list[str]:
    """Checks that the optional packages needed are installed.

    Args:
        model: name of the model, such as "dlrm".
        lookup: "take" or "tfrs".
        reports: whether a report will be written. Defaults to False.
        plots: whether it will have plots. Defaults to False.

    Returns:
        A line for each missing package that is not required.

    Raises:
        ConfigError: a package that the model or the lookup requires is
            missing.
    """
    if model in LIBRARY_MODELS:
        require(f"--model={model}", "keras_rs")
    if lookup == "tfrs":
        require("--lookup=tfrs", "tensorflow_recommenders")
    effects = {
        DRAWS: (
            plots,
            "the report will be only metrics.json, without page and plots",
        ),
        "tensorboard": (
            reports,
            "its events are written, but cannot be shown here",
        ),
    }
    return [
        f"{reason}: {effect}"
        for module, (needed, effect) in effects.items()
        if needed and (reason := lack(module))
    ]
