"""What `import wukong_tf` offers, and what its types say."""

import ast
import importlib
import inspect
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import wukong_tf

ROOT = Path(wukong_tf.__file__).parent


def test_every_name_is_there_and_is_what_its_home_has():
    for name, home in wukong_tf._HOMES.items():
        module = importlib.import_module(home)
        whole = home == f"wukong_tf.{name}"
        expected = module if whole else getattr(module, name)
        assert getattr(wukong_tf, name) is expected
    assert set(dir(wukong_tf)) == {"__version__", *wukong_tf._HOMES}
    with pytest.raises(AttributeError, match="'nothing'"):
        _ = wukong_tf.nothing


def test_modules_are_found_where_they_were():
    from wukong_tf.columns import NUMBERS, columns
    from wukong_tf.feature_spec import FeatureSpec

    assert FeatureSpec is wukong_tf.FeatureSpec
    spec = FeatureSpec(numeric=(wukong_tf.NumericFeature("a"),))
    assert [c.role for c in columns(spec)] == [NUMBERS]


def test_packages_for_users_are_attributes():
    packages = {m.name for m in pkgutil.iter_modules([str(ROOT)]) if m.ispkg}
    internal = {"arrow", "rows", "sharding"}
    assert packages - internal <= set(wukong_tf._HOMES)


def test_the_stub_has_the_same_names():
    stub = ast.parse((ROOT / "__init__.pyi").read_text(encoding="utf-8"))
    homes = {
        alias.asname: "wukong_tf." + alias.name
        if node.module == "wukong_tf"
        else node.module
        for node in stub.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert homes == wukong_tf._HOMES
    assert (ROOT / "py.typed").is_file()


@pytest.mark.slow
def test_a_module_is_an_attribute_from_the_first_import_on():
    """Nothing else has imported it, and Keras comes only with it."""
    program = (
        "import sys, wukong_tf; assert 'keras' not in sys.modules; "
        "assert wukong_tf.config.FeatureSpec; "
        "assert 'keras' not in sys.modules; "
        "print(wukong_tf.scaling.cost.__name__)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        cwd=ROOT.parent,
    )
    assert done.stdout.strip() == "cost", done.stderr


def public_functions():
    """(name, function) of what the packages export, methods included."""
    for module_name in set(wukong_tf._HOMES.values()):
        module = importlib.import_module(module_name)
        names = getattr(module, "__all__", None) or [
            name
            for name, value in vars(module).items()
            if not name.startswith("_")
            and getattr(value, "__module__", "") == module_name
        ]
        for name in names:
            value = getattr(module, name)
            if inspect.isfunction(value):
                yield f"{module_name}.{name}", value
            elif inspect.isclass(value) and value.__module__.startswith(
                "wukong_tf"
            ):
                for each, method in vars(value).items():
                    method = getattr(method, "__func__", method)
                    if inspect.isfunction(method) and (
                        each == "__init__" or not each.startswith("_")
                    ):
                        yield f"{module_name}.{name}.{each}", method


def test_public_signatures_have_types():
    lacking = []
    for where, function in public_functions():
        for name, parameter in inspect.signature(function).parameters.items():
            if name in ("self", "cls"):
                continue
            if parameter.annotation is inspect.Parameter.empty:
                lacking.append(f"{where}: {name}")
    assert not lacking, "\n".join(sorted(set(lacking)))
