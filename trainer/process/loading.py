"""Loads TensorFlow: without its start-up noise and what no program needs."""

import contextlib
import gc
import importlib.abc
import importlib.machinery
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence

from trainer.placement import host_memory
from trainer.process import console
from wukong_tf.errors import ConfigError

# Lines that TensorFlow's libraries write to standard error while they load,
# before any log level is read. 303 says that no CUDA driver is installed.
NOISE = (
    "All log messages before absl::InitializeLog",
    "oneDNN custom operations are on",
    "Could not find cuda drivers",
    "failed call to cuInit: .*\\(303\\)",
    "computation placer already registered",
    "factory for plugin .* has already been registered",
)
# Variables by which packages send nothing about their use to their makers, as
# they do by default: onnxruntime from 1.29 on (its Privacy.md), MLflow from 3.2
# on, and errors within W&B's package.
NO_TELEMETRY = {
    "ORT_DISABLE_TELEMETRY": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "WANDB_ERROR_REPORTING": "false",
}
# What TensorFlow and Keras import if it is installed; no program needs it of
# them, and programs that plot import matplotlib themselves.
UNUSED = ("jax", "matplotlib", "pandas", "scipy", "sklearn")

# A small training maps 5 GiB on two cores; each thread adds to it.
ADDRESS_SPACE = 8 * 2**30


class Stopwatch:
    """Times the phases of a start, in seconds.

    Args:
        began: time of `time.perf_counter` at which the first phase began.
            Defaults to None, now.

    Attributes:
        began: time at which the first phase began.
        phases: seconds by the name of the phase, in order.
    """

    def __init__(self, began: float | None = None):
        self.began = time.perf_counter() if began is None else began
        self._last = self.began
        self.phases: dict[str, float] = {}

    def lap(self, name: str) -> None:
        """Ends a phase, which began where the last one ended."""
        now = time.perf_counter()
        self.phases[name] = now - self._last
        self._last = now

    def first_step(self, took: float) -> None:
        """Ends the last two phases, and logs the seconds of each.

        Args:
            took: seconds of the first step; tracing took the rest of the time
                since the last lap.
        """
        self.lap("tracing")
        self.phases["tracing"] -= took
        self.phases["step"] = took
        parts = (f"{name} {s:.1f} s" for name, s in self.phases.items())
        console.log(
            f"first step after {sum(self.phases.values()):.1f} s: "
            + ", ".join(parts)
        )


def prepare() -> None:
    """Prepares the import of TensorFlow; must be called before it.

    Sets `NO_TELEMETRY`, and the variables that TensorFlow reads, unless they
    are set: the tfrs table lookup needs TensorFlow's own Keras to be version 2
    (`import keras` still is Keras 3). A line announces the import, and its
    noise is dropped unless TF_CPP_MIN_LOG_LEVEL is 0 or 1. Its default is 2,
    errors.
    """
    for name, value in NO_TELEMETRY.items():
        os.environ.setdefault(name, value)
    os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
    quiet = os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2") not in "01"
    if "tensorflow" not in sys.modules:
        sys.meta_path.insert(0, _Finder(NOISE if quiet else ()))


def load_tensorflow() -> None:
    """Imports TensorFlow, and Keras on it.

    Raises:
        ConfigError: KERAS_BACKEND chooses another backend.
    """
    backend = os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    if backend != "tensorflow":
        raise ConfigError(
            "the trainer needs Keras on TensorFlow; KERAS_BACKEND chose "
            f"{backend!r}."
        )
    with _without(UNUSED), _no_collection():
        import keras
        import tensorflow

        del keras, tensorflow


class _Finder(importlib.abc.MetaPathFinder):
    """Wraps the import of TensorFlow."""

    def __init__(self, noise: Sequence[str]):
        self._noise = noise

    def find_spec(self, fullname, path=None, target=None):
        if fullname != "tensorflow":
            return None
        spec = importlib.machinery.PathFinder.find_spec(fullname, path)
        if spec is None or spec.loader is None:
            return None
        execute = spec.loader.exec_module

        def wrapped(module):
            if multiprocessing.parent_process() is None:
                _announce()
                console.drain()
            with (
                without_lines(self._noise),
                _without(UNUSED),
                _no_collection(),
                _any_temporary_folder(),
            ):
                execute(module)
                # Looks for the CUDA driver, with the last of the noise.
                module.config.list_physical_devices()

        setattr(spec.loader, "exec_module", wrapped)  # noqa: B010
        return spec


def _announce():
    """Logs the import, and what may abort it."""
    console.log("loading TensorFlow")
    limit = host_memory.address_space_limit()
    if limit is not None and limit < ADDRESS_SPACE:
        console.log(
            f"warning: this process may map {limit / 2**30:.1f} GiB (ulimit "
            "-v). TensorFlow maps more than it uses, about 5 GiB on two cores; "
            "libraries that are refused it abort the process"
        )


@contextlib.contextmanager
def without_lines(patterns: Sequence[str]) -> Iterator[None]:
    """Drops lines that libraries write to standard error in the block.

    A process of its own, grep, passes on all other lines, so that nothing is
    lost if this process is aborted. Without grep, nothing is dropped.

    Args:
        patterns: extended regular expressions of the lines to drop.
    """
    command = ["grep", "--line-buffered", "-avE", "|".join(patterns)]
    try:
        if not patterns:
            raise OSError
        grep = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=2,
            start_new_session=True,  # Ctrl-C must not end it
            env={**os.environ, "LC_ALL": "C"},
        )
    except OSError:
        yield
        return
    assert grep.stdin is not None
    own = os.dup(2)
    os.dup2(grep.stdin.fileno(), 2)
    try:
        yield
    finally:
        console.drain()
        os.dup2(own, 2)
        os.close(own)
        grep.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            grep.wait(2.0)  # or until somebody reads


@contextlib.contextmanager
def _without(packages: Sequence[str]) -> Iterator[None]:
    """Makes packages appear not to be installed in the block."""
    hidden = [name for name in packages if name not in sys.modules]
    sys.modules.update(dict.fromkeys(hidden))  # type: ignore[arg-type]
    try:
        yield
    finally:
        for name in hidden:
            sys.modules.pop(name, None)


@contextlib.contextmanager
def _any_temporary_folder() -> Iterator[None]:
    """Lets modules ask for a temporary folder where none can be written.

    TensorFlow imports absl's tests, which name one as a flag's default.
    """
    before = tempfile.tempdir
    tempfile.tempdir = before or os.environ.get("TMPDIR", "/tmp")
    try:
        yield
    finally:
        tempfile.tempdir = before


@contextlib.contextmanager
def _no_collection() -> Iterator[None]:
    """Disables the garbage collector, which finds nothing during imports."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
