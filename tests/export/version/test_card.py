"""README.md of a version: facts of the run, in the form of a model card."""

import json
import re
import shutil
from pathlib import Path

import pytest
import yaml

from export.version import published as versions
from export.version.card import facts, features, head, markup, page, results
from tests.export.server.running import serving
from tests.worlds.served import CONFIG, ROWS, SPEC
from wukong_tf import runs, source
from wukong_tf.config import CategoricalFeature, FeatureSpec, Task

ODD = (
    *("a|b", "a: #b", "- x", "no", "1e5", "~", "价格", "سعر", "a\nb", "---\n"),
    *("`code`", "``` x", "<b>bold</b>", "&amp;", "*a*_b_", "\\|", " spaced "),
    *(
        "'",
        '"',
        "\x7f\x85\u2028\ufeff",
        "\U0001f600\U000e0001",
        "www.a.b",
        "$x$",
    ),
)
MANIFEST = {
    "model": {"model": "wukong"},
    "model_name": "clicks",
    "formats": ["saved_model", "onnx"],
    "precision": {"tables": "float32", "onnx_dense": "float32"},
}
VALUES = {"auc": 0.75, "logloss": 1e-05, "ne": 0.9, "calibration": None}
VALID = {"auc": 0.5, "logloss": 0.7, "ne": 1.1, "rows": 9}


def head_of(page: str) -> dict:
    """The head, as Hugging Face finds and reads it."""
    found = re.match(r"^(\s*---[\r\n]+)([\S\s]*?)([\r\n]+---(\r\n|\n|$))", page)
    assert found
    return yaml.safe_load(found[2])


def cells(line: str) -> int:
    """The cells of a line of a table."""
    return len(re.findall(r"(?<!\\)(?:\\\\)*\|", line)) - 1


@pytest.mark.parametrize("text", ODD)
def test_a_text_survives(text):
    content = {"datasets": [text], "model-index": [{"name": text, "n": 1}]}
    lines = list(markup.yaml(content))
    assert yaml.safe_load("\n".join(lines)) == content
    assert head_of("\n".join(["---", *lines, "---", "# x"])) == content
    line = markup.table(("a", "b"), [(markup.name(text), "x")]).split("\n")[2:]
    assert len(line) == 1 and cells(line[0]) == 2
    for mark in "<`*&":
        shown = markup.text(text).replace(f"\\{mark}", "")
        assert mark not in shown
    assert markup.block("sh", text).count("\n") == text.rstrip().count("\n") + 2


@pytest.mark.parametrize("value", [1e-05, 1e16, 5e-324, 0.1, 3, True, -1.5e300])
def test_a_number_survives(value):
    read = yaml.safe_load("\n".join(markup.yaml({"value": value})))["value"]
    assert (type(read), read) == (type(value), value)


def write(folder, name, content):
    path = Path(folder, name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


@pytest.fixture
def run(tmp_path):
    """A run that was evaluated at step 4, and at its best step 8."""
    config = {"format": 1, "model": {}, "data": {"train": 90, "valid": 9}}
    write(tmp_path, runs.CONFIG, config)
    records = [
        {"step": step, "kind": "valid", "click": {**VALID, "auc": step / 10}}
        for step in (4, 8)
    ]
    lines = "\n".join(["{broken", *map(json.dumps, records)])
    (tmp_path / "metrics.jsonl").write_text(lines)
    report = {"run": {"checkpoint_step": 8}, "valid": {"click": VALID}}
    report |= {"test": {"click": VALUES}}
    write(tmp_path, "report/metrics.json", report)
    paths = ["/home/ann/secret/day|2.parquet", "/home/ann/secret/b.parquet"]
    write(tmp_path, runs.HELD_OUT, {"split": "test", "files": paths})
    return tmp_path


def facts_of(run, step=8, tasks=("click",), cut=False):
    checkpoint = runs.Checkpoint("", step, {"rows": 90}, {})
    return facts.read(str(run), checkpoint, tasks, cut)


def results_of(found, manifest=MANIFEST):
    content = head.describe(manifest, found, None)
    read = yaml.safe_load("\n".join(markup.yaml(content)))
    assert read == content and "license" not in read
    return read.get("model-index", [{"results": []}])[0]["results"]


def test_metrics_are_those_of_the_test_rows(run):
    (result,) = results_of(facts_of(run))
    assert result["dataset"]["split"] == "test"
    assert result["dataset"]["name"] == "day|2.parquet and 1 more"
    assert result["task"]["name"] == "click"
    values = {m["type"]: m["value"] for m in result["metrics"]}
    defined = {k: v for k, v in VALUES.items() if v is not None}
    assert values == {head.METRICS[k][0]: v for k, v in defined.items()}


def test_without_a_test_split_they_are_of_the_valid_rows(run):
    report = {"run": {"checkpoint_step": 8}, "valid": {"click": VALID}}
    write(run, "report/metrics.json", report)
    (result,) = results_of(facts_of(run))
    assert result["dataset"]["split"] == "valid"
    assert facts_of(run).results.exact


def test_another_checkpoint_has_its_own_metrics(run):
    found = facts_of(run, step=4)
    assert found.results.tasks["click"]["auc"] == 0.4
    assert (found.results.split, found.results.exact) == ("valid", False)
    assert facts_of(run, step=6).results is None
    assert results_of(facts_of(run, step=6)) == []


def test_a_cut_model_has_no_metrics(run):
    assert results_of(facts_of(run, cut=True)) == []


def test_reduced_precision_is_said_beside_the_metrics(run):
    precision = {"tables": "int8", "onnx_dense": "float32"}
    reduced = MANIFEST | {"precision": precision}
    (result,) = results_of(facts_of(run), reduced)
    assert result["metrics"][0]["name"] == "AUC of the checkpoint in float32"


@pytest.mark.parametrize("content", [[], {"test": 3}, {"run": []}, None])
def test_odd_reports_have_no_metrics(run, content):
    write(run, "report/metrics.json", content)
    (run / "metrics.jsonl").unlink()
    assert facts_of(run).results is None


INITS = {
    "no such key": (None, ""),
    "none": ({}, "random"),
    "a run": (
        {"name": "day-1", "run": "ab", "step": 8, "rows": 1234},
        "step 8 of the run `day-1`, rows trained on before: 1,234",
    ),
    "an old run": (
        {"name": "x", "run": None, "step": 8, "rows": None},
        "step 8 of the run `x`, rows trained on before: not recorded",
    ),
}


@pytest.mark.parametrize("init, shown", INITS.values(), ids=INITS)
def test_the_run_that_gave_the_weights_is_named(init, shown, run):
    state = {"rows": 90} | ({} if init is None else {"init": init})
    checkpoint = runs.Checkpoint("", 8, state, {})
    found = facts.read(str(run), checkpoint, ["click"], cut=False)
    table = page._data(found)
    assert ("| initial weights |" in table) == bool(shown)
    assert shown in table
    limits = " ".join(page._limits({"formats": []}, found, SPEC))
    assert ("not recorded whether the training began" in limits) != bool(shown)


def test_a_sampling_rate_stands_next_to_the_metrics(run):
    manifest = {**MANIFEST, "parity": {}}
    assert "rate of neg" not in "".join(
        results._metrics(manifest, facts_of(run))
    )
    report = {"run": {"checkpoint_step": 8}}
    report |= {"test": {"click": {**VALUES, "negative_rate": 0.125}}}
    write(run, "report/metrics.json", report)
    text = "\n".join(results._metrics(manifest, facts_of(run)))
    assert "| sampling rate of negatives |" in text and "| 0.125000 |" in text
    assert "counts as one over the sampling rate" in text


def test_directories_of_the_data_are_not_stated(run):
    (result,) = results_of(facts_of(run))
    assert "ann" not in json.dumps(result)
    assert "ann" not in repr(facts_of(run))


def test_the_data_set_is_named_if_the_files_are_its_own(run):
    digests = [{"file": "train-0.parquet", "sha256": "12"}]
    entries = [{**digests[0], "outline": ""}]
    write(run, runs.DATA, {"format": 1, "files": {"train": entries}})
    write(run, runs.PREPARATION, {"data": str(run / "mine")})
    prepared = {"dataset": "frappe", "files": digests, "split_rule": "folds"}
    prepared |= {"inputs": [{"file": "frappe.csv"}]}
    write(run, "mine/manifest.json", prepared)
    data = facts_of(run).data
    assert (data.name, data.inputs) == ("frappe", ("frappe.csv",))
    assert data.files == {"train": ["train-0.parquet"]}
    write(run, "mine/manifest.json", {**prepared, "files": []})
    data = facts_of(run).data
    assert (data.name, data.inputs, data.split_rule) == ("mine", (), None)


def test_a_synthetic_log_is_named_as_such(run):
    write(run, runs.HELD_OUT, {"split": "test", "synthetic": {"seed": 3}})
    found = facts_of(run)
    (result,) = results_of(found)
    assert result["dataset"]["type"] == "synthetic"
    assert "datasets" not in head.describe(MANIFEST, found, None)


def test_tables_of_odd_names_stay_whole():
    names = [name for name in ODD if "/" not in name]
    spec = FeatureSpec(
        tuple(CategoricalFeature(name, 5) for name in names),
        tasks=(Task("a|b", "l|m"), Task("c\nd", "`e`")),
    )
    manifest = {
        "context_features": names[:2],
        "outputs": {
            t.name: dict.fromkeys(("probability", "logit"), t.name)
            for t in spec.tasks
        },
    }
    tables = [part for part in features.describe(spec, manifest) if "|" in part]
    for table in tables:
        lines = table.split("\n")
        if lines[0].startswith("|"):
            assert len({cells(line) for line in lines}) == 1
    assert sum(len(t.split("\n")) - 2 for t in tables if t[0] == "|") == (
        len(names) + 2
    )


def test_a_package_without_a_record_has_no_commit(tmp_path):
    (tmp_path / ".git").mkdir()
    assert source.commit(str(tmp_path)) is None


@pytest.fixture(scope="module")
def card(published):
    return Path(published, "README.md").read_text("utf-8")


def test_a_version_has_its_card(card, run_dir):
    content = head_of(card)
    assert content["library_name"] == "wukong_tf"
    assert {"wukong", "onnx", "tensorflow"} < set(content["tags"])
    assert "model-index" not in content  # the run has no report
    assert "No metrics of this checkpoint" in card
    assert f"scored {ROWS} held-out rows" in card
    assert str(Path(run_dir).parent) not in card
    assert f"| `embedding_dim` | {CONFIG.embedding_dim} |" in card
    for feature in SPEC.all_features:
        assert f"| `{feature.name}` | " in card


def test_the_program_for_onnx_runs(card, published, monkeypatch, capsys):
    (code,) = [c for c in blocks(card) if "onnxruntime" in c]
    monkeypatch.chdir(published)
    exec(compile(code, "card", "exec"), {})
    assert "probability" in capsys.readouterr().out


@pytest.mark.slow
def test_the_client_s_request_is_answered(card, published, monkeypatch, capsys):
    (code,) = [c for c in blocks(card) if "RestClient" in c]
    monkeypatch.chdir(published)
    with serving(published) as server:
        code = code.replace("http://127.0.0.1:8501", server.address)
        exec(compile(code, "card", "exec"), {})
    assert "probability" in capsys.readouterr().out


def blocks(page):
    return re.findall(r"```python\n(.*?)```", page, re.S)


def test_the_card_may_be_edited_or_missing(published, tmp_path):
    copy = shutil.copytree(published, tmp_path / "7")
    (copy / "README.md").write_text("---\nlicense: mit\n---\n")
    versions.read(str(copy)).verify()
    (copy / "README.md").unlink()
    versions.read(str(copy)).verify()
