"""Run directories and model files are data: none of them runs code."""

import ast
import io
import json
import os
import pickle
import zipfile
from pathlib import Path

import keras
import numpy as np
import pytest

import wukong_tf
from tests import tiers
from tests.trainer.cli import arguments, run
from tests.worlds import small_models, small_runs
from wukong_tf import files, runs
from wukong_tf.errors import WukongError

ROOT = Path(__file__).resolve().parents[2]


class Payload:
    """Whatever unpickles it, or calls what it names, leaves a mark."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


@pytest.fixture
def mark(tmp_path):
    """A path that must not come to be."""
    path = tmp_path / "mark"
    yield path
    assert not path.exists(), "code of the file was run"


def rewrite_index(folder: Path, **entry):
    """Changes the first array's entry, with the digest put right."""
    path = folder / runs.INDEX
    content = json.loads(path.read_text())
    del content["digest"]
    name = next(iter(content["arrays"]))
    content["arrays"][name] |= entry
    content["digest"] = runs.digest(content)
    path.write_text(json.dumps(content))
    return content["arrays"][name]["file"]


@pytest.mark.parametrize("big", [False, True])
def test_a_pickled_array_is_refused(tmp_path, mark, big):
    """With checksums that fit: whoever wrote it wrote them too."""
    run_dir = small_runs.write(tmp_path)
    folder = small_runs.folder(run_dir)
    array = np.empty(200_000 if big else 1, object)
    array[:] = Payload(mark)
    content = io.BytesIO()
    np.lib.format.write_array(content, array, allow_pickle=True)
    name = rewrite_index(folder)
    (folder / name).write_bytes(content.getvalue())
    rewrite_index(folder, sha256=files.sha256(str(folder / name)))
    with pytest.raises(WukongError, match=name):
        wukong_tf.load_run(str(run_dir))


@pytest.mark.parametrize("file", ["../../secret.npy", "/etc/passwd", ".."])
def test_an_array_outside_its_checkpoint_is_refused(tmp_path, file):
    run_dir = small_runs.write(tmp_path)
    rewrite_index(small_runs.folder(run_dir), file=file)
    with pytest.raises(WukongError, match="lies outside|cannot be read"):
        wukong_tf.load_run(str(run_dir))


def hostile_texts(mark):
    """What would run code if it were evaluated or imported."""
    call = f"__import__('os').mkdir({str(mark)!r})"
    return [
        call,
        f"!!python/object/apply:os.mkdir [{str(mark)!r}]",
        {"module": "os", "class_name": "mkdir", "config": {"path": str(mark)}},
        {"__reduce__": ["os.mkdir", [str(mark)]]},
        pickle.dumps(Payload(mark), protocol=0).decode("latin1"),
    ]


@pytest.mark.parametrize("number", tiers.first(range(5)))
@pytest.mark.parametrize("file", [runs.CONFIG, runs.FEATURES])
def test_texts_in_a_run_directory_are_data(tmp_path, mark, file, number):
    """In every place of the file in turn, and as the whole file."""
    text = hostile_texts(mark)[number]
    run_dir = small_runs.write(tmp_path)
    path = run_dir / file
    content = json.loads(path.read_text())

    def places(value, put):
        yield put
        if isinstance(value, dict | list):
            keys = value if isinstance(value, dict) else range(len(value))
            for key in keys:
                yield from places(
                    value[key],
                    lambda new, value=value, key=key: value.__setitem__(
                        key, new
                    ),
                )

    count = len(list(places(content, None)))
    for place in range(count):
        changed = json.loads(json.dumps(content))
        whole = {"it": changed}
        put = list(
            places(changed, lambda new, whole=whole: whole.update(it=new))
        )[place]
        put(text)
        path.write_text(json.dumps(whole["it"]))
        try:
            runs.read_model_config(str(run_dir))
        except WukongError:
            pass  # Only these: anything else is a fault of ours.


@pytest.mark.parametrize("file", [runs.CONFIG, runs.FEATURES, "best.json"])
def test_nonsense_in_a_run_directory_is_an_error_of_ours(tmp_path, file):
    run_dir = small_runs.write(tmp_path)
    path = run_dir / file
    if file == "best.json":
        path = run_dir / runs.CHECKPOINTS / file
    for text in ("[" * 100_000, "{" * 9, "\x00", "NaN", '{"step": 1e400}'):
        path.write_text(text)
        with pytest.raises(WukongError):
            wukong_tf.load_run(str(run_dir))


def hostile_keras_files(mark):
    """config.json of .keras files that name what is not of Keras."""
    function = {
        "module": "os",
        "class_name": "function",
        "config": "mkdir",
        "registered_name": "function",
    }
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.get_layer(index=0)
    dense = keras.saving.serialize_keras_object(model)
    lambdas = json.loads(json.dumps(dense))
    lambdas["config"]["layers"][1] = {
        "module": "keras.layers",
        "class_name": "Lambda",
        "registered_name": None,
        "config": {"name": "x", "function": function, "arguments": {}},
    }
    wukong = {
        "module": "wukong_tf.models.wukong",
        "class_name": "Wukong",
        "registered_name": "wukong_tf>Wukong",
        "config": {
            "config": {"model": "wukong", "features": function},
            "name": "wukong",
            "dtype": "float32",
        },
    }
    call = {
        "module": "os",
        "class_name": "mkdir",
        "registered_name": None,
        "config": {"path": str(mark)},
    }
    return {"lambda": lambdas, "wukong": wukong, "call": call}


@pytest.mark.parametrize("kind", ["lambda", "wukong", "call"])
def test_a_keras_file_runs_no_code(tmp_path, mark, kind):
    saved = tmp_path / "model.keras"
    small_models.make().save(saved)
    hostile = tmp_path / "hostile.keras"
    content = hostile_keras_files(mark)[kind]
    with zipfile.ZipFile(saved) as old, zipfile.ZipFile(hostile, "w") as new:
        for name in old.namelist():
            data = old.read(name)
            if name == "config.json":
                data = json.dumps(content).encode()
            new.writestr(name, data)
    # Keras has several kinds of errors for what it does not take.
    with pytest.raises(Exception):  # noqa: B017
        keras.saving.load_model(hostile)


def test_the_trainer_goes_on_from_no_hostile_run(tmp_path, mark, capsys):
    run_dir = small_runs.write(tmp_path)
    (run_dir / runs.CONFIG).write_text(json.dumps(hostile_texts(mark)[2]))
    options = {"synthetic": True, "run_dir": run_dir, "max_steps": 1}
    assert run(*arguments(**options)) == 2
    assert "config.json" in capsys.readouterr().err


def test_nothing_of_ours_unpickles_or_evaluates():
    """By name, in the sources: the ways that Python has."""
    modules = {"pickle", "cPickle", "dill", "marshal", "shelve", "yaml"}
    calls = {"eval", "exec", "compile", "__import__", "execfile"}
    for package in ("wukong_tf", "trainer", "export"):
        for path in (ROOT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                match node:
                    case ast.Import(names=names):
                        found = {name.name.split(".")[0] for name in names}
                    case ast.ImportFrom(
                        module="pickle",
                        names=[ast.alias(name="UnpicklingError")],
                    ):
                        continue  # to say what torch refused
                    case ast.ImportFrom(module=str(module)):
                        found = {module.split(".")[0]}
                    case ast.Call(func=ast.Name(id=name)):
                        assert name not in calls, (path, node.lineno)
                        continue
                    case ast.keyword(arg="allow_pickle", value=value):
                        assert ast.literal_eval(value) is False, path
                        continue
                    case ast.keyword(arg="safe_mode", value=value):
                        assert ast.literal_eval(value) is True, path
                        continue
                    case _:
                        continue
                assert not found & modules, (path, node.lineno)
