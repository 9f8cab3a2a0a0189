"""Checks for optional packages at the start of a program.

If a package that only adds something, such as plots, is missing, one line says
so; if a flag requires it, ConfigError is raised before any work is done.
"""

import importlib
import shlex

from wukong_tf.errors import ConfigError

# Module name to the requirement that pip installs.
_REQUIREMENTS = {
    "aiohttp": "wukong_tf[serving]",
    "apache_beam": "wukong_tf[beam]",
    "grpc": "tensorflow-serving-api",
    "keras_rs": "wukong_tf[baselines]",
    "matplotlib": "wukong_tf[report]",
    "optuna": "wukong_tf[tune]",
    "prometheus_client": "wukong_tf[serving]",
    "safetensors": "wukong_tf[interop]",
    "tensorboard": "wukong_tf[report]",
    "tensorflow_recommenders": "tensorflow-recommenders tf-keras",
    "tensorflow_serving": "tensorflow-serving-api",
    "torch": "wukong_tf[interop]",
}


def lack(module: str) -> str | None:
    """Returns why a module cannot be imported, or None if it can be.

    The text ends with the command that installs it. A module that is installed
    but broken, such as one built for another NumPy, counts as missing.

    Args:
        module: its name, such as "matplotlib.figure".
    """
    try:
        importlib.import_module(module)
    except Exception as error:
        package = module.partition(".")[0]
        requirement = _REQUIREMENTS.get(package, package)
        reason = " ".join(str(error).split()) or type(error).__name__
        install = shlex.join(["pip", "install", *requirement.split()])
        return f"{package} cannot be imported ({reason}); run {install}"
    return None


def require(what: str, *modules: str) -> None:
    """Raises ConfigError if a module that `what` requires is missing.

    Args:
        what: name of the option in the error, such as "--model=dlrm".
        *modules: names of the required modules.
    """
    for module in modules:
        if reason := lack(module):
            raise ConfigError(f"{what}: {reason}.")
