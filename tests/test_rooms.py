"""What each room of the product may import, here and in BUILD."""

import ast
import graphlib
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
CODE = ("wukong_tf", "trainer", "export")
FORMS = ["wukong_tf.config", "wukong_tf.errors", "wukong_tf.names"]
UNNAMED = "a module that its text does not name in full"

# The room of a file is that of the longest of these that its path starts with.
PLACES = {
    "wukong_tf/__init__.py": "wukong_tf",
    "wukong_tf/arrow/": "arrow",
    "wukong_tf/columns.py": "config",  # where users found it
    "wukong_tf/config/": "config",
    "wukong_tf/embeddings/": "embeddings",
    "wukong_tf/embeddings/mapped_tables.py": "mapped_tables",
    "wukong_tf/embeddings/table_rows.py": "table_rows",
    "wukong_tf/embeddings/tfrs_tables.py": "tfrs_tables",
    "wukong_tf/errors.py": "config",
    "wukong_tf/extras.py": "extras",
    "wukong_tf/feature_spec.py": "config",  # where users found it
    "wukong_tf/features/": "features",
    "wukong_tf/files.py": "files",
    "wukong_tf/interop/": "interop",
    "wukong_tf/layers/": "layers",
    "wukong_tf/metrics/": "metrics",
    "wukong_tf/models/": "models",
    "wukong_tf/names.py": "config",
    "wukong_tf/optimizers/": "optimizers",
    "wukong_tf/rows/": "rows",
    "wukong_tf/runs/": "runs",
    "wukong_tf/scaling/": "scaling",
    "wukong_tf/source.py": "extras",
    "wukong_tf/sharding/": "sharding",
    "trainer/": "trainer",
    "trainer/checkpoints/": "checkpoints",
    "trainer/comparison/": "comparison",
    "trainer/data/": "trainer_data",
    "trainer/distribution/": "distribution",
    "trainer/loop/": "loop",
    "trainer/modes/": "modes",
    "trainer/placement/": "placement",
    "trainer/preparation/": "preparation",
    "trainer/process/": "process",
    "trainer/report/": "report",
    "trainer/scaling_law/": "scaling_law",
    "trainer/settings/": "settings",
    "trainer/tracking/": "tracking",
    "trainer/tuning/": "tuning",
    "export/": "export",
    "export/client/": "export_client",
    "export/flags.py": "export_flags",
    "export/formats/": "formats",
    "export/formats/signature_session.py": "signature_session",
    "export/proof/": "proof",
    "export/served/": "served",
    "export/served/naming.py": "naming",
    "export/server/": "export_server",
    "export/version/": "version",
    "export/version/engines.py": "published",
    "export/version/published.py": "published",
    "tests/": "test_support",
}

# What a room may import besides the standard library: first anywhere, then
# inside functions alone. A name stands for all modules below it too.
KERAS = ["keras", "numpy", "wukong_tf"]
TENSORFLOW = [*KERAS, "tensorflow"]
PROGRAM = [*TENSORFLOW, "absl", "pyarrow"]
RULES = {
    "config": (["numpy", *FORMS], []),
    # It looks for whatever package it is asked for, and uses none.
    "extras": (["wukong_tf.errors", "wukong_tf.extras"], [UNNAMED]),
    "files": ([], []),
    "scaling": (["numpy", "wukong_tf.scaling", *FORMS], []),
    "arrow": (["numpy", "pyarrow", "wukong_tf.arrow"], []),
    "layers": (KERAS, []),
    "embeddings": (KERAS, []),
    "models": (KERAS, ["keras_rs"]),
    "features": (TENSORFLOW, []),
    "rows": ([*TENSORFLOW, "pyarrow"], []),
    "interop": (["numpy", "wukong_tf"], ["ml_dtypes", "safetensors", "torch"]),
    "metrics": (TENSORFLOW, []),
    "runs": (TENSORFLOW, []),
    "optimizers": (KERAS, ["tensorflow"]),
    "sharding": (TENSORFLOW, []),
    "mapped_tables": (TENSORFLOW, []),
    "table_rows": (KERAS, ["tensorflow"]),
    "tfrs_tables": ([*TENSORFLOW, "tensorflow_recommenders"], []),
    "wukong_tf": ([], ["wukong_tf"]),
    "process": (
        [
            "absl",
            "tqdm",
            "trainer.placement.host_memory",
            "trainer.process",
            "wukong_tf",
        ],
        ["keras", "tensorflow"],
    ),
    "trainer_data": (
        [
            *PROGRAM,
            "tqdm",
            "trainer.data",
            "trainer.preparation",
            "trainer.settings",
        ],
        [],
    ),
    "distribution": (
        [
            *TENSORFLOW,
            "absl",
            "trainer.data",
            "trainer.distribution",
            "trainer.process.console",
            "trainer.process.stop_signal",
            "trainer.settings",
        ],
        [],
    ),
    "preparation": (
        [
            "absl",
            "numpy",
            "pyarrow",
            "tqdm",
            "trainer.preparation",
            "trainer.settings",
            "wukong_tf.arrow",
            "wukong_tf.extras",
            "wukong_tf.files",
            *FORMS,
        ],
        ["apache_beam", "h5py", "tensorflow"],
    ),
    "settings": (
        [
            "absl",
            "trainer.settings",
            "wukong_tf.runs",
            "wukong_tf.scaling",
            *FORMS,
        ],
        [],
    ),
    "placement": (
        ["trainer.placement", "trainer.settings", "wukong_tf.scaling", *FORMS],
        ["tensorflow"],
    ),
    "checkpoints": (
        [
            "numpy",
            "pyarrow",
            "trainer.checkpoints",
            "trainer.data",
            "trainer.placement",
            "trainer.preparation",
            "trainer.settings",
            "wukong_tf.embeddings.table_rows",
            "wukong_tf.files",
            "wukong_tf.runs",
            *FORMS,
        ],
        [],
    ),
    "report": (
        [
            "numpy",
            "pyarrow",
            "trainer.data",
            "trainer.loop",
            "trainer.placement",
            "trainer.process.console",
            "trainer.report",
            "wukong_tf.extras",
            "wukong_tf.files",
            "wukong_tf.metrics",
            "wukong_tf.rows",
            "wukong_tf.runs",
            *FORMS,
        ],
        ["matplotlib"],
    ),
    "loop": (
        [
            *TENSORFLOW,
            "absl",
            "tqdm",
            "trainer.checkpoints",
            "trainer.data",
            "trainer.distribution",
            "trainer.loop",
            "trainer.placement",
            "trainer.process.console",
            "trainer.process.loading",
            "trainer.process.stop_signal",
            "trainer.settings",
        ],
        [],
    ),
    "modes": (
        [
            *PROGRAM,
            "trainer.checkpoints",
            "trainer.data",
            "trainer.distribution",
            "trainer.loop",
            "trainer.modes",
            "trainer.placement",
            "trainer.preparation",
            "trainer.process.console",
            "trainer.process.loading",
            "trainer.report",
            "trainer.settings",
            "trainer.tracking.trackers",
        ],
        [],
    ),
    "comparison": (
        [
            "numpy",
            "trainer.checkpoints",
            "trainer.comparison",
            "trainer.data",
            "trainer.distribution",
            "trainer.loop",
            "trainer.modes",
            "trainer.process.console",
            "trainer.report",
            "trainer.settings",
            "wukong_tf.extras",
            "wukong_tf.files",
            "wukong_tf.metrics",
            "wukong_tf.runs",
            *FORMS,
        ],
        [],
    ),
    "tracking": (
        [
            "mlflow",
            "tensorflow",
            "trainer.loop.metrics_log",
            "trainer.process.console",
            "trainer.process.stop_signal",
            "trainer.settings",
            "trainer.tracking",
            "wandb",
            "wukong_tf.extras",
            "wukong_tf.files",
            "wukong_tf.runs",
            *FORMS,
        ],
        ["tensorboard"],
    ),
    "tuning": (
        [
            "trainer.data",
            "trainer.distribution",
            "trainer.modes.early",
            "trainer.process.console",
            "trainer.process.stop_signal",
            "trainer.report.learning",
            "trainer.report.style",
            "trainer.settings",
            "trainer.tuning",
            "wukong_tf",
        ],
        ["optuna"],
    ),
    "scaling_law": (
        [
            "numpy",
            "trainer.data",
            "trainer.process.console",
            "trainer.process.program",
            "trainer.process.stop_signal",
            "trainer.report.style",
            "trainer.scaling_law",
            "trainer.settings",
            "trainer.tuning",
            "wukong_tf.files",
            "wukong_tf.runs",
            "wukong_tf.scaling",
            "wukong_tf.source",
            *FORMS,
        ],
        ["matplotlib"],
    ),
    "trainer": (
        [
            "absl",
            "trainer",
            "wukong_tf.extras",
            "wukong_tf.files",
            "wukong_tf.runs",
            *FORMS,
        ],
        [],
    ),
    "export_client": (
        ["numpy", "export.client"],
        ["grpc", "tensorflow", "tensorflow_serving"],
    ),
    "signature_session": (["numpy", "tensorflow"], []),
    "naming": (FORMS, []),
    "published": (
        [
            "export.client",
            "export.served.naming",
            "export.version.published",
            "numpy",
            "wukong_tf.extras",
            "wukong_tf.files",  # digests of what is loaded
            *FORMS,
        ],
        ["onnxruntime", "tensorflow", "export.formats.signature_session"],
    ),
    "served": (
        [
            *TENSORFLOW,
            "export.client",
            "export.served",
            "pyarrow",
        ],
        [],
    ),
    "proof": (
        [
            *TENSORFLOW,
            "export.formats.artifact",
            "export.proof",
            "export.served",
            "pyarrow",
            "trainer.data",
        ],
        [],
    ),
    "formats": (
        [*TENSORFLOW, "export.formats", "export.served"],
        ["onnx", "onnxruntime", "tf2onnx"],
    ),
    "version": (
        [
            *TENSORFLOW,
            "export.flags",
            "export.formats",
            "export.served",
            "export.version",
            "pyarrow",
            "trainer.data",
            "trainer.preparation",
        ],
        ["google.protobuf", "tensorflow_serving"],
    ),
    "export_flags": (
        ["absl", "trainer.settings", "wukong_tf.extras", *FORMS],
        [],
    ),
    "export_server": (
        [
            "aiohttp",
            "export.client",
            "export.served.naming",
            "export.server",
            "export.version.engines",
            "export.version.published",
            "numpy",
            "prometheus_client",
            *FORMS,
        ],
        ["grpc", "tensorflow", "tensorflow_serving"],
    ),
    "export": (
        [
            "absl",
            "export",
            "trainer.data",
            "trainer.placement.host_memory",
            "trainer.preparation",
            "trainer.process.console",
            "trainer.process.loading",
            "trainer.process.program",
            "trainer.process.stop_signal",
            "trainer.settings",
            "wukong_tf",
        ],
        ["aiohttp", "pyarrow"],
    ),
}
# Only files whose paths start so may import these.
CONFINED: dict[str, str | tuple[str, ...]] = {
    "tensorflow_recommenders": "wukong_tf/embeddings/tfrs_tables.py",
    "matplotlib": ("trainer/report/", "trainer/scaling_law/plots.py"),
    "mlflow": "trainer/tracking/mlflow_run.py",
    "optuna": "trainer/tuning/",
    "tensorboard": "trainer/tracking/hparams.py",
    "wandb": "trainer/tracking/wandb_run.py",
    "apache_beam": "trainer/preparation/runners.py",
    "h5py": "trainer/preparation/tasks.py",
    "keras_rs": "wukong_tf/models/",
    "aiohttp": ("export/serve.py", "export/server/"),
    "prometheus_client": "export/server/",
    "grpc": ("export/client/grpc_client.py", "export/server/grpc_service.py"),
}


def files(*patterns: str) -> set[str]:
    """Paths under the root that match any pattern."""
    found = [path for pattern in patterns for path in ROOT.glob(pattern)]
    return {path.relative_to(ROOT).as_posix() for path in found}


def read(path: str) -> str:
    return (ROOT / path).read_text(encoding="utf-8")


def file_of(module: str) -> str | None:
    """The path of a module of this repository, or None for any other."""
    path = module.replace(".", "/")
    both = (f"{path}.py", f"{path}/__init__.py")
    return next((file for file in both if (ROOT / file).is_file()), None)


def room_of(path: str) -> str | None:
    places = [place for place in PLACES if path.startswith(place)]
    return PLACES[max(places, key=len)] if places else None


def under(module: str, packages: list[str]) -> bool:
    return any(f"{module}.".startswith(f"{package}.") for package in packages)


def modules_of(node: ast.AST) -> Iterator[str]:
    """The modules that one node of a syntax tree names as imports."""
    match node:
        case ast.Import(names=names):
            yield from (name.name for name in names)
        case ast.ImportFrom(level=0, module=str(module), names=names):
            for name in names:
                inner = f"{module}.{name.name}"
                yield inner if file_of(inner) else module
        case ast.ImportFrom():
            yield UNNAMED
        case (
            ast.Call(func=ast.Name("import_module" | "__import__"))
            | ast.Call(func=ast.Attribute(attr="import_module"))
        ):
            match node.args:
                case [ast.Constant(str(module)), *_]:
                    yield module
                # The facade's; the next case reads the table itself.
                case [ast.Subscript(ast.Name("_HOMES"))]:
                    pass
                case _:
                    yield UNNAMED
        case ast.Assign([ast.Name("_HOMES")], ast.Dict(_, values)):
            yield from map(ast.literal_eval, values)


def imports_of(source: str) -> list[tuple[str, int, bool]]:
    """Each module that a text imports, its line, and if inside a function."""
    found = []

    def visit(node, inside):
        # A function of the facade imports the modules of its table.
        late = inside or isinstance(node, ast.Assign)
        found.extend((name, node.lineno, late) for name in modules_of(node))
        inside |= isinstance(
            node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda
        )
        for child in ast.iter_child_nodes(node):
            visit(child, inside)

    visit(ast.parse(source), False)
    return found


def confined(path: str, source: str) -> list[str]:
    """What the file at `path` imports that only others may."""
    return [
        f"{path}:{line} imports {module}, which only {place} may."
        for module, line, _ in imports_of(source)
        for package, place in CONFINED.items()
        if under(module, [package]) and not path.startswith(place)
    ]


def refusals(path: str, source: str) -> list[str]:
    """What a file of the product, with the text `source`, breaks."""
    room = room_of(path)
    if room not in RULES:
        return [f"{path} is in no room that has a rule."]
    broken = confined(path, source)
    anywhere, in_functions = RULES[room]
    for module, line, inside in imports_of(source):
        said = f"{path}:{line} imports {module}"
        if under(module, in_functions):
            if not inside:
                broken.append(f"{said} outside a function.")
        elif module.partition(".")[0] not in sys.stdlib_module_names:
            if not under(module, anywhere):
                broken.append(f"{said}, which {room} may not.")
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Call(ast.Attribute(attr="fit")) if path.startswith(
                "trainer/"
            ):
                broken.append(f"{path}:{node.lineno} calls .fit().")
    return broken


def sources(node: ast.expr) -> set[str]:
    """The files that a `srcs` of BUILD names: a list or one glob."""
    match node:
        case ast.Call(ast.Name("glob"), [patterns], []):
            return files(*ast.literal_eval(patterns))
        case ast.Call(
            ast.Name("glob"), [patterns], [ast.keyword("exclude", exclude)]
        ):
            chosen = files(*ast.literal_eval(patterns))
            return chosen - files(*ast.literal_eval(exclude))
    return set(ast.literal_eval(node))


def targets(build: str) -> dict[str, tuple]:
    """Kind, sources and deps of each Python target in BUILD's text."""
    found = {}
    for node in ast.walk(ast.parse(build)):
        match node:
            case ast.Call(ast.Name("py_library" | "py_binary" as kind)):
                given = {word.arg: word.value for word in node.keywords}
                name = ast.literal_eval(given["name"])
                deps = ast.literal_eval(given.get("deps", ast.List([])))
                found[name] = (kind, sources(given["srcs"]), set(deps))
    return found


def build_refusals(build: str) -> list[str]:
    """Where BUILD's text and what the sources import differ."""
    broken = []
    found = targets(build)
    for path in sorted(files(*(f"{name}/**/*.py" for name in CODE))):
        homes = [
            name
            for name, (kind, srcs, _) in found.items()
            if kind == "py_library" and path in srcs
        ]
        if homes != [room_of(path)]:
            broken.append(f"BUILD: {path} is in {homes}, not {room_of(path)}.")
    for name, (_, srcs, deps) in found.items():
        imported = {
            f":{room_of(file)}": f"{path}:{line} imports {module}"
            for path in sorted(srcs)
            for module, line, _ in imports_of(read(path))
            if (file := file_of(module)) and room_of(file) != name
        }
        for label in sorted(imported.keys() - deps):
            broken.append(f"BUILD: {name} lacks {label}: {imported[label]}.")
        for label in sorted(deps - imported.keys()):
            broken.append(f"BUILD: {name} imports nothing of {label}.")
    return broken


def test_product_keeps_to_its_rooms():
    paths = sorted(files(*(f"{name}/**/*.py" for name in CODE)))
    broken = [line for path in paths for line in refusals(path, read(path))]
    assert not broken, "\n".join(broken)
    assert {room_of(path) for path in paths} == set(RULES)


def test_the_rest_of_the_repository_keeps_to_it_too():
    # Neither tests nor what is made here, by name in .gitignore.
    skipped = {"tests"}
    skipped |= {line.strip("/") for line in read(".gitignore").splitlines()}
    skipped |= {path.split("/")[0] for path in files("*/pyvenv.cfg")}
    broken = [
        line
        for path in sorted(files("*.py", "[!.]*/**/*.py"))
        if path.split("/")[0] not in skipped
        for line in confined(path, read(path))
    ]
    assert not broken, "\n".join(broken)


def test_flags_end_at_the_door():
    """Below the programs, settings are dataclasses."""
    doors = {
        "trainer/compare.py",
        "trainer/example_log.py",
        "trainer/launch.py",
        "trainer/main.py",
        "trainer/prepare.py",
        "trainer/preparation/settings.py",
        "trainer/process/program.py",
        "trainer/reproduce.py",
        "trainer/scaling.py",
        "trainer/tune.py",
        *files("trainer/settings/*.py"),
        *files("export/*.py"),
    }
    below = files(*(f"{name}/**/*.py" for name in CODE)) - doors
    for path in sorted(below):
        for module, line, _ in imports_of(read(path)):
            assert not under(module, ["absl.flags"]), f"{path}:{line}"


def test_graphs_are_traced_as_they_are_written():
    """AutoGraph converts for seconds what has no Python loops over tensors."""
    for path in sorted(files(*(f"{name}/**/*.py" for name in CODE))):
        for node in ast.walk(ast.parse(read(path))):
            if isinstance(node, ast.Call) and (
                ast.unparse(node.func) == "tf.function"
            ):
                said = {each.arg: each.value for each in node.keywords}
                value = said.get("autograph")
                assert value is not None, f"{path}:{node.lineno}"
                assert ast.unparse(value) == "False"
            if isinstance(node, ast.FunctionDef):
                plain = map(ast.unparse, node.decorator_list)
                assert "tf.function" not in plain, f"{path}:{node.lineno}"


def test_build_says_what_the_sources_import():
    broken = build_refusals(read("BUILD"))
    assert not broken, "\n".join(broken)
    graph = {
        f":{n}": deps for n, (_, _, deps) in targets(read("BUILD")).items()
    }
    graphlib.TopologicalSorter(graph).prepare()  # Raises where it has a cycle.


INSIDE = "def f():\n    "


@pytest.mark.parametrize(
    "path, source, named",
    [
        ("wukong_tf/layers/a.py", "import tensorflow as tf", "tensorflow"),
        ("wukong_tf/layers/a.py", "from . import mlp", UNNAMED),
        ("wukong_tf/layers/a.py", "import_module(name)", UNNAMED),
        ("wukong_tf/models/a.py", INSIDE + "import tensorflow.io", "io"),
        (
            "wukong_tf/config/schema.py",
            "from wukong_tf import layers",
            "layers",
        ),
        ("wukong_tf/runs/a.py", "importlib.import_module('absl.app')", "absl"),
        ("wukong_tf/runs/a.py", "import tensorflow_recommenders", "only"),
        ("wukong_tf/optimizers/a.py", "import tensorflow", "outside"),
        ("wukong_tf/__init__.py", "_HOMES = {'A': 'trainer.a'}", "trainer.a"),
        ("wukong_tf/__init__.py", "import wukong_tf.layers", "outside"),
        ("wukong_tf/new.py", "", "no room"),
        ("trainer/a.py", INSIDE + "import export.main", "export.main"),
        ("trainer/a.py", INSIDE + "import matplotlib", "only"),
        ("trainer/report/a.py", "import matplotlib.figure", "outside"),
        ("trainer/a.py", "model.fit(data)", "fit"),
        ("export/a.py", "from trainer import checkpoints", "checkpoints"),
        ("export/formats/a.py", "class A:\n    import onnx", "outside"),
    ],
)
def test_refuses(path, source, named):
    broken = refusals(path, source)
    assert any(named in line and path in line for line in broken), broken


def test_accepts():
    assert not refusals("wukong_tf/layers/a.py", "import math, keras.ops")
    assert not refusals("wukong_tf/runs/a.py", INSIDE + "import tensorflow.io")
    assert not refusals("export/a.py", "from trainer.data import source")
    assert not refusals("export/formats/a.py", "lambda: import_module('onnx')")


@pytest.mark.parametrize(
    "old, new, named",
    [
        ('":tfrs_tables",', "", "embeddings lacks :tfrs_tables"),
        ('":metrics",', '":metrics", ":export",', "nothing of :export"),
        ('"wukong_tf/names.py",', "", "names.py is in []"),
        (
            '            "wukong_tf/embeddings/tfrs_tables.py",',
            "",
            "['tfrs_tables', 'embeddings']",
        ),
    ],
)
def test_refuses_a_build_file_that_differs(old, new, named):
    assert old in read("BUILD")
    broken = build_refusals(read("BUILD").replace(old, new))
    assert any(named in line for line in broken), broken
