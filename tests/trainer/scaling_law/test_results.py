"""Tables, fits and plots from files of results."""

import json
import struct

import pytest

from tests.trainer.scaling_law.command import program
from trainer.scaling_law import frontier, records, results_file
from wukong_tf.errors import DataError

STUDY = {"rows": 8000, "task": "click", "data": {"synthetic_seed": 0}}
MFLOP = (0.3, 1, 3, 10)
SEARCH = {
    "model": "wukong", "rung": "1m", "sizes": {}, "learning_rate": 0.1,
    "valid_logloss": None, "error": "the loss is not finite.",
}  # fmt: skip


def record(model="wukong", mflop=1.0, seed=1, floor=0.25, **values):
    """A run whose excess is 0.02 MFLOP^-0.2 (rows / 8000)^-0.3."""
    factor = 1.3 if model == "mlp" else 1.0
    noise = 1 + 0.002 * seed
    curve = tuple(
        (n, 0.25 + factor * noise * 0.02 * mflop**-0.2 * (n / 8000) ** -0.3)
        for n in (1000, 2000, 4000, 8000)
    )
    known = None if floor is None else floor
    return records.Record(
        **{
            "model": model,
            "rung": f"{mflop:g}m",
            "sizes": {},
            "training_flop": int(mflop * 1e6),
            "dense_parameters": int(mflop * 1.5e5),
            "table_parameters": 1000,
            "seed": seed,
            "learning_rate": 0.001,
            "rows": 8000,
            "split": "test",
            "auc": 0.8,
            "logloss": curve[-1][1],
            "attainable_logloss": known,
            "curve": curve,
            "curve_attainable": known,
            "last_window_logloss": curve[-1][1],
            "seconds": 3.0,
            "versions": {"wukong_tf": "0"},
            "commit": "abc",
        }
        | values
    )


def ladder(models=("wukong", "mlp"), mflop=MFLOP, **values):
    return [
        record(model, size, seed, **values)
        for model in models
        for size in mflop
        for seed in (1, 2, 3)
    ]


def write(path, runs, study=STUDY):
    results_file.write(str(path), study, [], runs)
    return str(path)


def draw(tmp_path, *paths, more=("--noplots",)):
    code = program(
        f"--results={','.join(paths)}",
        f"--output={tmp_path / 'drawn'}",
        "--resamples=200",
        *more,
    )
    folder = tmp_path / "drawn"
    if code:
        return code
    return json.loads((folder / "scaling.json").read_text())


def test_records_are_read_as_they_were_written(tmp_path):
    runs = ladder()
    study, _, read = results_file.merged([write(tmp_path / "a.json", runs)])
    assert (study, read) == (STUDY, runs)


def test_parts_may_have_tried_other_rates(tmp_path):
    lists = ([0.001, 0.002], [0.0005, 0.001])
    parts = [
        write(
            tmp_path / f"{seed}.json",
            [record(seed=seed)],
            {**STUDY, "learning_rates": rates},
        )
        for seed, rates in enumerate(lists)
    ]
    study, _, read = results_file.merged(parts)
    assert study["learning_rates"] == [0.0005, 0.001, 0.002]
    assert len(read) == 2


@pytest.mark.parametrize(
    "other, named",
    [
        ({"sizes": {"num_layers": 8}}, "`sizes` of wukong 1m, seed 2, must be"),
        ({"training_flop": 10}, "`training_flop` of wukong 1m"),
        ({"learning_rate": 0.004}, "received 0.004"),
    ],
)
def test_a_rung_is_of_one_size_and_rate(other, named, tmp_path):
    parts = [
        write(tmp_path / "a.json", [record()]),
        write(tmp_path / "b.json", [record(seed=2, **other)]),
    ]
    with pytest.raises(DataError, match=named):
        results_file.merged(parts)


@pytest.mark.parametrize(
    "rates, tried, marked",
    [
        ([0.0005, 0.001, 0.002], [0.0005, 0.001, 0.002], False),
        ([0.0005, 0.001, 0.002], [0.001, 0.002], True),  # as of another study
        ([0.0005, 0.001, 0.0015, 0.002], [0.0005, 0.001, 0.002], True),
        ([0.0005, 0.001], [0.0005, 0.001], True),
        ([0.001], [], False),  # not a search
    ],
)
def test_a_rate_with_none_tried_next_to_it_is_marked(
    tmp_path, rates, tried, marked
):
    path = str(tmp_path / "a.json")
    searches = [{**SEARCH, "learning_rate": rate} for rate in tried]
    study = {**STUDY, "learning_rates": rates, "search_rows": 8000}
    results_file.write(path, study, searches, [record()])
    draw(tmp_path, path)
    page = (tmp_path / "drawn" / "scaling.md").read_text()
    assert ("| 0.001 (end) |" in page) == marked
    assert ("| 0.001 |" in page) != marked


def test_losses_that_rise_have_no_law(tmp_path):
    runs = [
        record("mlp", mflop, logloss=0.3 + 0.01 * at, floor=None)
        for at, mflop in enumerate((*MFLOP, 30))
    ]
    fits = draw(tmp_path, write(tmp_path / "a.json", runs))
    assert fits["mlp"]["of_flop"] is None
    assert fits["mlp"]["verdict"].startswith("no law fits")
    assert "NaN" not in (tmp_path / "drawn" / "scaling.json").read_text()
    page = (tmp_path / "drawn" / "scaling.md").read_text()
    assert "| mlp | training FLOP |  | none fits |" in page


def test_the_law_is_fitted_from_results_alone(tmp_path):
    fits = draw(tmp_path, write(tmp_path / "a.json", ladder()))
    for model in ("wukong", "mlp"):
        for of in ("of_flop", "of_parameters"):
            law = fits[model][of]
            assert law["exponent"] == pytest.approx(0.2, abs=1e-5)
            low, high = law["intervals"]["exponent"]
            assert low - 1e-9 <= 0.2 <= high + 1e-9
            assert law["r_squared"] == pytest.approx(1)
        assert fits[model]["verdict"].startswith("not saturated: the last")
    page = (tmp_path / "drawn" / "scaling.md").read_text()
    assert "| wukong | 0.3m | 0.3 | 45,000 | 3 | 0.001 | 0.80000" in page
    assert "The paper has -0.1 % of LogLoss" in page
    assert not [*(tmp_path / "drawn").glob("*.png")]


def test_an_unknown_floor_is_fitted(tmp_path):
    runs = ladder(floor=None)
    fits = draw(tmp_path, write(tmp_path / "a.json", runs))
    assert not fits["wukong"]["known_floor"]
    law = fits["wukong"]["of_flop"]
    assert law["floor"] == pytest.approx(0.25, abs=1e-3)
    page = (tmp_path / "drawn" / "scaling.md").read_text()
    assert f"| wukong | training FLOP | {law['floor']:.5f} |" in page


def test_a_flat_last_step_above_an_unknown_floor_is_no_gain(tmp_path):
    runs = [
        record("wukong", mflop, seed, floor=None, logloss=logloss + noise)
        for mflop, logloss in zip(
            MFLOP, (0.28, 0.272, 0.272, 0.272), strict=True
        )
        for seed, noise in ((1, -1e-4), (2, 0.0), (3, 1e-4))
    ]
    path = write(tmp_path / "a.json", runs)
    (fits,) = draw(tmp_path, path).values()
    assert fits["verdict"].startswith("saturation is not excluded")
    page = (tmp_path / "drawn" / "scaling.md").read_text()
    assert "| 3 or more |" in page  # the exponent of a drop to the floor
    (fits,) = draw(tmp_path, write(tmp_path / "a.json", runs[:9])).values()
    assert fits["last_step"] is None


def test_rates_that_diverged_are_listed(tmp_path):
    path = str(tmp_path / "a.json")
    tried = [SEARCH, SEARCH | {"learning_rate": 0.01, "valid_logloss": 0.3}]
    rates = {"learning_rates": [0.01, 0.1], "search_rows": 1000}
    results_file.write(path, STUDY | rates, tried, [record()])
    other = str(tmp_path / "b.json")
    results_file.write(other, STUDY | rates, tried, [record(seed=2)])
    draw(tmp_path, path, other)
    page = (tmp_path / "drawn" / "scaling.md").read_text()
    assert "rates to try on 1,000 rows: 0.01, 0.1" in page
    assert "\n- rates that diverged: wukong 1m 0.1\n" in page


def test_the_directory_must_be_one(tmp_path, capsys):
    (tmp_path / "drawn").write_text("")
    assert draw(tmp_path, write(tmp_path / "a.json", [record()])) == 2
    assert "--output=" in capsys.readouterr().err


def test_one_rung_and_one_seed_are_drawn_too(tmp_path):
    fits = draw(tmp_path, write(tmp_path / "a.json", [record()]))
    assert fits["wukong"]["of_flop"] is None
    assert fits["wukong"]["verdict"] == "too few rungs to tell"
    page = (tmp_path / "drawn" / "scaling.md").read_text()
    assert "nan" not in page and "None" not in page


def test_a_plateau_is_found(tmp_path):
    runs = ladder(("wukong",), MFLOP[:3])
    runs += [
        record("wukong", 10, seed, logloss=runs[5 + seed].logloss)
        for seed in (1, 2, 3)
    ]
    fits = draw(tmp_path, write(tmp_path / "a.json", runs))
    assert fits["wukong"]["verdict"].startswith("saturation is not excluded")


def test_the_frontier_is_the_best_rung_of_a_budget():
    def loss(mflop, budget):
        rows = min(budget / mflop / 1e6, 8000)
        excess = 0.02 * 1.004 * mflop**-0.2 * (rows / 8000) ** -0.3
        return (excess, rows) if rows >= 990 else (1.0, 0)

    chosen = frontier.frontier(ladder(("wukong",)))
    assert chosen[0].budget == pytest.approx(1.2e9)
    for choice in chosen:
        best = min((loss(m, choice.budget), m) for m in MFLOP)
        assert choice.training_flop == best[1] * 1e6
        assert (choice.loss, choice.rows) == pytest.approx(best[0], rel=1e-6)
        assert not choice.inside
    losses = [choice.loss for choice in chosen]
    assert losses == sorted(losses, reverse=True)


def test_rows_after_which_a_loss_rises_are_not_taken():
    curve = ((1000, 0.30), (2000, 0.27), (4000, 0.29))
    runs = [record(mflop=size, curve=curve) for size in (1, 2)]
    chosen = frontier.frontier(runs)
    assert [choice.budget for choice in chosen] == [2e9, 4e9, 8e9]
    for choice in chosen:
        assert (choice.rung, choice.rows) == ("1m", 2000)
        assert choice.loss == pytest.approx(0.02)


def test_what_is_left_out_is_listed(tmp_path):
    runs = ladder(("wukong",), (*MFLOP, 30))
    runs += [record("wukong", 100, seed, logloss=0.2499) for seed in (1, 2)]
    path = str(tmp_path / "a.json")
    results_file.write(path, STUDY, [{**SEARCH, "rung": "5m"}], runs)
    draw(tmp_path, path)
    page = (tmp_path / "drawn" / "scaling.md").read_text()
    assert "so left out of laws: wukong 100m\n" in page
    assert "- searched, and not run: wukong 5m\n" in page


def test_the_loss_of_each_rung_is_listed_by_rows(tmp_path):
    draw(tmp_path, write(tmp_path / "a.json", ladder(("wukong",))))
    page = (tmp_path / "drawn" / "scaling.md").read_text()
    table = page.partition("## Rows of wukong\n\n")[2].splitlines()
    assert table[0] == "| rows | 0.3m | 1m | 3m | 10m |"
    losses = [0.02 * 1.004 * m**-0.2 * 0.5**-0.3 for m in MFLOP]
    # Seeds differ by 0.002.
    cells = " | ".join(f"{x:.5f} ± {x / 1.004 * 0.002:.5f}" for x in losses)
    assert table[4] == f"| 4,000 | {cells} (best) |"
    assert [row.split(" |")[0] for row in table[2:6]] == [
        *("| 1,000", "| 2,000", "| 4,000", "| 8,000")
    ]


def test_rungs_of_a_sweep_are_compared_with_its_base(tmp_path):
    losses = {"base": 0.3, "layers_x2": 0.297, "without_fmb": 0.306}
    runs = [
        record(mflop=size, rung=rung, seed=seed, logloss=loss + off)
        for size, (rung, loss) in zip((1, 2, 0.5), losses.items(), strict=True)
        for seed, off in ((1, -0.0003), (2, 0.0003))
    ]
    fits = draw(tmp_path, write(tmp_path / "a.json", runs))["wukong"]
    assert fits["of_flop"] is None and not fits["frontier"]
    best, worst = sorted(fits["differences"], key=lambda d: d["percent"])
    assert (best["rung"], worst["rung"]) == ("layers_x2", "without_fmb")
    assert (best["percent"], worst["percent"]) == pytest.approx((-1, 2))
    assert best["training_flop"] == pytest.approx(2)
    # Two seeds each: t of two degrees of freedom, SD 0.0003 sqrt 2.
    half = 100 * 4.303 * 0.0003 * 2**0.5 / 0.3
    assert best["half"] == pytest.approx(half, rel=1e-3)
    page = (tmp_path / "drawn" / "scaling.md").read_text()
    assert "## Laws" not in page and "## Frontier" not in page
    assert f"| layers_x2 | 2.00 | -1.00 ± {half:.2f} |" in page


def test_a_choice_between_two_worse_sizes_is_inside():
    def one(mflop, value):
        rows = (1e9 / mflop, 2e9 / mflop)
        return record(mflop=mflop, curve=[(n, 0.25 + value) for n in rows])

    runs = [one(1, 0.03), one(2, 0.02), one(4, 0.025)]
    assert {c.rung for c in frontier.frontier(runs)} == {"2m"}
    assert all(c.inside for c in frontier.frontier(runs))


def test_parts_of_a_ladder_join(tmp_path):
    runs = ladder()
    other = STUDY | {"versions": {"keras": "9"}}
    parts = [
        write(tmp_path / "a.json", runs[:7]),
        write(tmp_path / "b.json", runs[5:], other),
    ]
    *_, joined = results_file.merged(parts)
    assert len(joined) == len(runs)
    assert draw(tmp_path, *parts)["wukong"]["of_flop"]["rungs"] == 4


@pytest.mark.parametrize(
    "change, named",
    [
        ("nothing", "not valid JSON"),
        ("{}", "'format'"),
        ('{"format": 2}', "`format` must be 1"),
        ({"runs": []}, "there are no runs"),
        ({"runs": [3]}, "run 0: expected an object"),
        ({"searches": [3]}, "a search: must be an object; received 3"),
        ({"searches": [{"model": "mlp"}]}, "a search: lacks ['rung'"),
        ({"other": 1}, "run 0: unknown key 'other'"),
        ({"logloss": None}, "run 0: `logloss` must be a finite number"),
        ({"logloss": float("nan")}, "run 0: `logloss`"),
        ({"model": 3}, "run 0: `model` must be a string"),
        ({"versions": 3}, "run 0: `versions` must be an object"),
        ({"auc": "x"}, "run 0: `auc` must be a finite number"),
        ({"training_flop": 0}, "`training_flop` must be at least 1"),
        ({"seconds": 0}, "`seconds` must be above 0"),
        ({"seed": 1.5}, "`seed` must be an integer"),
        ({"rows": 17}, "`rows` must be those of the study, 8,000"),
        ({"logloss": -5}, "`logloss` must be"),
        ({"auc": 7}, "`auc` must be at most 1"),
        ({"split": "train"}, "`split` must be one of"),
        ({"model": "a|b"}, "`model` must be one of"),
        ({"rung": "a|b"}, "`rung` must be 1 to 100 letters"),
        ({"rung": ".."}, "`rung` must be 1 to 100 letters"),
        ({"attainable_logloss": None}, "must both be known or null"),
        ({"study": {}}, "study: lacks ['task', 'rows']"),
        ({"study": None}, "study: must be an object; received None"),
        ({"study": STUDY | {"rows": "8"}}, "study: `rows` must be an integer"),
        ({"study": STUDY | {"learning_rates": 3}}, "is not a file of results"),
        ({"study": STUDY | {"learning_rates": ["x"]}}, "`learning_rates`"),
        ({"study": STUDY | {"flags": ["x"]}}, "is not a file of results"),
        ({"study": STUDY | {"flags": {"x": 3}}}, "`x` must be a string"),
        ({"searches": [SEARCH | {"learning_rate": "x"}]}, "`learning_rate`"),
        ({"searches": [SEARCH | {"valid_logloss": "x"}]}, "`valid_logloss`"),
        ({"curve": [[0, 1]]}, "`curve` must be above 0"),
        ({"curve": [[1]]}, "`curve` must be pairs"),
        ({"curve": [[2, 0.3], [1, 0.3]]}, "`curve` must be above 2"),
        ({"curve": [[8001, 0.3]]}, "`curve` must end at `rows`, 8000"),
        ({"excess": 99.0}, "`excess` must be `logloss` less"),
        ({"logloss": 0.0}, "`logloss` must be above 0"),
        ({"last_window_logloss": 0}, "`last_window_logloss` must be above 0"),
        ({"logloss": 1e308}, "`logloss` must be at most 1e+30"),
        ({"training_flop": 10**400}, "`training_flop` must be at most 1e+30"),
        ({"curve": [1]}, "'curve'[0]: expected a list"),
    ],
)
def test_a_file_that_breaks_a_rule_is_refused(change, named, tmp_path, capsys):
    path = tmp_path / "a.json"
    write(path, [record()])
    content = json.loads(path.read_text())
    if isinstance(change, str):
        path.write_text(change)
    else:
        part = content if {*change} <= {*content} else content["runs"][0]
        path.write_text(json.dumps(content | change))
        if part is not content:
            part.update(change)
            path.write_text(json.dumps(content))
    assert draw(tmp_path, str(path)) == 2
    said = capsys.readouterr().err
    assert str(path) in said
    assert any(part in said for part in named.split("|"))


def test_files_that_contradict_each_other_are_refused(tmp_path, capsys):
    first = write(tmp_path / "a.json", [record()])
    second = write(tmp_path / "b.json", [record(auc=0.7)])
    assert draw(tmp_path, first, second) == 2
    assert "another result of wukong 1m, seed 1" in capsys.readouterr().err
    write(
        tmp_path / "b.json",
        [record(rows=9, curve=((9, 0.3),))],
        STUDY | {"rows": 9},
    )
    assert draw(tmp_path, first, second) == 2
    assert "different: rows was 8000, is 9" in capsys.readouterr().err
    write(tmp_path / "b.json", [record(seed=2, split="valid")])
    assert draw(tmp_path, first, second) == 2
    assert "scored on one split; received ['test'" in capsys.readouterr().err
    write(tmp_path / "b.json", [record(seed=2, floor=None)])
    assert draw(tmp_path, first, second) == 2
    said = capsys.readouterr().err
    assert "`attainable_logloss` must be the same of all runs" in said
    assert draw(tmp_path, str(tmp_path / "none.json")) == 2
    assert "none.json" in capsys.readouterr().err


def test_plots_are_drawn(tmp_path):
    pytest.importorskip("matplotlib")
    runs = ladder()
    runs += [record("dlrm", 1, seed, rung="base") for seed in (1, 2)]
    runs += [record("dlrm", 2, seed, rung="other") for seed in (1, 2)]
    draw(tmp_path, write(tmp_path / "a.json", runs), more=())
    for name in (
        *("flop", "parameters", "rows", "last_window", "differences_dlrm"),
    ):
        content = (tmp_path / "drawn" / f"{name}.png").read_bytes()
        assert content.startswith(b"\x89PNG")
        assert struct.unpack(">II", content[16:24]) == (1120, 800)
