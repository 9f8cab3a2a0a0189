"""Optional packages, looked for at the start of a program.

What only adds something, such as pictures, costs a line where it is missing;
what a flag cannot do without is refused before any work is done.
"""

import importlib
import shlex

from wukong_tf.errors import ConfigError

# What pip installs a module by.
_REQUIREMENTS = {
    "aiohttp": "wukong_tf[serving]",
    "apache_beam": "wukong_tf[beam]",
    "grpc": "tensorflow-serving-api",
    "keras_rs": "wukong_tf[baselines]",
    "matplotlib": "wukong_tf[report]",
    "prometheus_client": "wukong_tf[serving]",
    "tensorboard": "wukong_tf[report]",
    "tensorflow_recommenders": "tensorflow-recommenders tf-keras",
    "tensorflow_serving": "tensorflow-serving-api",
}


def lack(module: str) -> str | None:
    """Returns why a module cannot be imported, or None if it can be.

    The text ends in the command that installs it. A module that is there but
    broken, such as one built for another NumPy, counts as missing.

    Args:
        module: its name, such as "matplotlib.figure".
    """
    try:
        importlib.import_module(module)
    except Exception as error:
        package = module.partition(".")[0]
        wanted = _REQUIREMENTS.get(package, package)
        said = " ".join(str(error).split()) or type(error).__name__
        install = shlex.join(["pip", "install", *wanted.split()])
        return f"{package} cannot be imported ({said}); {install} brings it"
    return None


def require(what: str, *modules: str) -> None:
    """Raises ConfigError if `what` lacks a module that it cannot do without.

    Args:
        what: what was asked for, such as "--model=dlrm".
        *modules: names of modules.
    """
    for module in modules:
        if reason := lack(module):
            raise ConfigError(f"{what}: {reason}.")
