"""Checks for packages at the start of a program, above all optional ones.

If a package that only adds something, such as plots, is missing, one line says
so; if a flag requires it, ConfigError is raised before any work is done.
"""

import importlib.util
import json
import os
import shlex
import sys

from wukong_tf.errors import ConfigError

# The directory of this package and of those installed with it.
ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
# Module name to the requirement that pip installs.
_REQUIREMENTS = {
    "aiohttp": "wukong_tf[serving]",
    "apache_beam": "wukong_tf[beam]",
    "grpc": "tensorflow-serving-api",
    "keras_rs": "wukong_tf[baselines]",
    "matplotlib": "wukong_tf[report]",
    "mlflow": "wukong_tf[mlflow]",
    "optuna": "wukong_tf[tune]",
    "prometheus_client": "wukong_tf[serving]",
    "safetensors": "wukong_tf[interop]",
    "tensorboard": "wukong_tf[report]",
    "tensorflow_recommenders": "tensorflow-recommenders tf-keras",
    "tensorflow_serving": "tensorflow-serving-api",
    "torch": "wukong_tf[interop]",
    "wandb": "wukong_tf[wandb]",
}


def lack(module: str, *, load: bool = True) -> str | None:
    """Returns why a module cannot be imported, or None if it can be.

    The text ends with the command that installs it. A module that is installed
    but broken, such as one built for another NumPy, counts as missing.

    Args:
        module: its name, such as "matplotlib.figure".
        load: whether to import it. Defaults to True; otherwise a module that
            is installed but broken is not noticed.
    """
    try:
        if load:
            importlib.import_module(module)
        elif importlib.util.find_spec(module) is None:
            raise ModuleNotFoundError(f"No module named {module!r}")
    except Exception as error:
        package = module.partition(".")[0]
        command = install(_REQUIREMENTS.get(package, package))
        reason = " ".join(str(error).split()) or type(error).__name__
        return f"{package} cannot be imported ({reason}); run {command}"
    return None


def install(requirement: str) -> str:
    """Returns the pip command that installs requirements.

    An extra of this package is installed from where the package came from:
    its checkout, the wheel or directory that pip was given, or an index.

    Args:
        requirement: names of packages, or an extra, such as
            "wukong_tf[report]".
    """
    package, bracket, extra = requirement.partition("[")
    if not bracket:
        return shlex.join(["pip", "install", *requirement.split()])
    if os.path.exists(os.path.join(ROOT, "setup.py")):
        return shlex.join(["pip", "install", "-e", f"{ROOT}[{extra}"])
    from importlib import metadata

    try:
        text = metadata.distribution(package).read_text("direct_url.json")
    except metadata.PackageNotFoundError:  # copied here, not installed
        text = None
    if text is not None:
        requirement += f" @ {json.loads(text)['url']}"
    return shlex.join(["pip", "install", requirement])


def require(what: str, *modules: str, load: bool = True) -> None:
    """Raises ConfigError if a module that `what` requires is missing.

    Args:
        what: name of the option in the error, such as "--model=dlrm".
        *modules: names of the required modules.
        load: see `lack`.
    """
    for module in modules:
        if reason := lack(module, load=load):
            raise ConfigError(f"{what}: {reason}.")


def missing() -> dict[str, list[str]]:
    """Returns the modules that are not installed, by extra, in its order."""
    modules: dict[str, list[str]] = {}
    for module, requirement in _REQUIREMENTS.items():
        extra = requirement.partition("[")[2].rstrip("]")
        if extra:
            lacking = modules.setdefault(extra, [])
            if importlib.util.find_spec(module) is None:
                lacking.append(module)
    return dict(sorted(modules.items()))


def check_own(*names: str) -> None:
    """Raises ImportError if a package is not the one next to this package.

    A program that `python -m` starts exits with 2 instead. `trainer` and
    `export` are common names: a directory of the user's, or what another
    distribution installs, may come first in `sys.path`.

    Args:
        *names: names of packages that are installed together with this one.
    """
    for name in names:
        spec = importlib.util.find_spec(name)
        found = spec.origin if spec else None
        if spec and spec.submodule_search_locations:
            found = next(iter(spec.submodule_search_locations))
        own = os.path.join(ROOT, name)
        if found is None or os.path.realpath(found) != os.path.realpath(own):
            message = (
                f"wukong_tf needs its own package {name!r}, {own}; Python "
                f"finds {found} first. Start in another directory, or remove "
                "that one from PYTHONPATH; next to another distribution that "
                f"installs {name!r}, use an environment of its own."
            )
            if sys.argv[:1] == ["-m"]:  # as long as Python looks for a program
                print(f"error: {message}", file=sys.stderr)
                sys.exit(2)
            raise ImportError(message)
