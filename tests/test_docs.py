"""The site: every page is found, every public name and flag has its entry."""

import ast
import codeop
import re
import types
from pathlib import Path

import flag_lists
import flowchart
import pytest

import wukong_tf
from wukong_tf.scaling import cost

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
PAGES = (ROOT / "README.md", *sorted(DOCS.rglob("*.md")))
CODE = ("wukong_tf", "trainer", "export")
# What a test calls or reads that expects an error, its code or its text.
CATCHES = {"raises", "assert_refused", "message", "code", "err", "said"}
ENTRIES = [
    name
    for page in (DOCS / "api").glob("*.md")
    for name in re.findall(r"^::: (\S+)$", page.read_text("utf-8"), re.M)
]
# A function of its module's name stands under both.
API = {*ENTRIES, *(re.sub(r"\.(\w+)\.\1$", r".\1", e) for e in ENTRIES)}


def exported(path):
    """The names in `__all__` of a file, read as text."""
    for node in ast.parse(path.read_text("utf-8")).body:
        match node:
            case ast.Assign([ast.Name("__all__")], ast.List() as names):
                return ast.literal_eval(names)
    return []


def public_names():
    """Full names of what wukong_tf and its packages export."""
    for path in (ROOT / "wukong_tf").glob("*/__init__.py"):
        for name in exported(path):
            yield f"wukong_tf.{path.parent.name}.{name}"
    for name in exported(ROOT / "wukong_tf/columns.py"):
        yield f"wukong_tf.config.columns.{name}"
    for name, home in wukong_tf._HOMES.items():
        if home != f"wukong_tf.{name}":
            yield f"{home}.{name}"


def test_every_public_name_has_its_entry():
    names = set(public_names())
    assert len(names) > 80
    assert not names - API


def test_no_entry_is_a_module_that_has_its_function_s_name():
    for entry in ENTRIES:
        path = ROOT / entry.replace(".", "/")
        assert not path.with_suffix(".py").exists(), entry


def test_every_module_for_users_has_its_page():
    text = (DOCS / "api/index.md").read_text("utf-8")
    for name, home in wukong_tf._HOMES.items():
        if home != f"wukong_tf.{name}":
            assert f"`{name}`" in text, name
        elif name != "columns":  # stands with the configurations
            assert (DOCS / f"api/{name}.md").is_file(), name
            assert f"[`wukong_tf.{name}`]({name}.md)" in text


def test_every_page_is_in_the_navigation():
    navigation = (ROOT / "mkdocs.yml").read_text("utf-8").partition("nav:")[2]
    listed = re.findall(r": ([\w/]+\.md)$", navigation, re.M)
    pages = {path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md")}
    roots = {path.name for path in ROOT.glob("*.md")}
    assert set(listed) == pages | roots
    assert len(listed) == len(set(listed))


def anchors(path):
    """The fragments of a page's headings, as GitHub and MkDocs name them."""
    text = re.sub(
        r"^```.*?^```", "", path.read_text("utf-8"), flags=re.S | re.M
    )
    for heading in re.findall(r"^#+ (.+)$", text, re.M):
        kept = re.sub(r"[^\w\s-]", "", heading).strip().lower()
        yield re.sub(r"\s", "-", kept)


def test_links_lead_to_headings():
    found = 0
    for page in (*ROOT.glob("*.md"), *DOCS.rglob("*.md")):
        for target in re.findall(r"\]\(([^)]+)\)", page.read_text("utf-8")):
            path, _, anchor = target.partition("#")
            if anchor and "://" not in path:
                other = page.parent / path if path else page
                assert anchor in anchors(other), f"{page.name}: {target}"
                found += 1
    assert found > 50


def test_files_that_contributors_are_sent_to_are_there():
    text = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
    named = set(re.findall(r"`([\w./]+/[\w./]+|\w+\.(?:md|yml))`", text))
    assert len(named) > 30
    for name in named:
        path = ROOT / name.replace("NAME", "mlp")
        assert path.exists() or (ROOT / "wukong_tf" / name).exists(), name


def test_contributors_are_shown_the_source():
    """Each line of a class or method, and each file that has vectors."""
    text = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
    found = ""
    for package in CODE:
        for path in (ROOT / package).rglob("*.py"):
            source = path.read_text("utf-8")
            found += "".join(source.split())
            if re.search(r"spec\.vector\b|\.kind == \"vector\"", source):
                assert f"`{path.relative_to(ROOT)}`" in text, path
    for code in re.findall(r"```python\n(.*?)```", text, re.S):
        if "_books" not in code:  # made by tests/trainer/preparation
            for line in code.splitlines():
                assert "".join(line.split()) in found, line


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_blocks_can_be_pasted_into_an_interpreter(page):
    """Before 3.13, a blank line must end what is indented, and only that."""
    for block in re.findall(
        r"^```python\n(.*?)^```", page.read_text("utf-8"), re.M | re.S
    ):
        compiled, lines = codeop.CommandCompiler(), []
        for line in [*block.splitlines(), ""]:
            lines.append(line)
            if compiled("\n".join(lines), line, "single") is not None:
                lines = []


def test_every_program_has_its_flags():
    setup = (ROOT / "setup.py").read_text("utf-8")
    programs = set(re.findall(r'"wukong-[\w-]+=([\w.]+):main"', setup))
    page = (DOCS / "flags.md").read_text("utf-8")
    assert set(re.findall(r"^<!-- flags of (\S+) -->$", page, re.M)) == programs
    assert set(flag_lists.GROUPS) == programs
    for program in programs:
        text = flag_lists.lists(program)
        listed = re.findall(r"^`--[^`]+`\n:   .{10,}$", text, re.M)
        assert len(listed) == text.count("\n`--") > 0
    assert "\n`--batch_size=INT`\n" in flag_lists.lists("trainer.main")


def test_code_of_a_page_is_broken_between_its_words_only():
    hooks = pytest.importorskip("hooks", reason="mkdocs is not installed")
    layer = "FactorizationMachineBlock(num_embeddings, rank)"
    block = "<pre><code>y = a + (1 - a) (1 - b)\n  if no\n</code></pre>"
    error = (
        '<div class="language-text highlight"><pre><span></span><code>'
        "see --batch_size</code></pre></div>"
    )
    html = f"<code>{layer}</code>{block}{error}"
    shown = hooks.on_page_content(html)
    for word in ("FactorizationMachineBlock(", "rank)", "--batch_size"):
        assert f'<span class="short">{word}</span>' in shown
    assert block in shown, "lines of a block are kept"
    assert re.sub("<wbr>|</?span[^>]*>", "", shown) == html.replace(
        "<span></span>", ""
    )


def test_numbers_stay_with_their_units():
    hooks = pytest.importorskip("hooks", reason="mkdocs is not installed")
    html = (
        "<td>1e-5 in 3 s</td><p>0.9 ± 0.1, 2 GB of 3 x 4 <code>9 s</code></p>"
    )
    assert hooks.on_page_content(html) == (
        '<td><span class="short">1e-5</span> in 3\xa0s</td><p>0.9\xa0±\xa00.1, '
        '2\xa0GB of 3\xa0x\xa04 <code class="short">9 s</code></p>'
    )


def test_lines_of_signatures_and_long_names_may_break():
    hooks = pytest.importorskip("hooks", reason="mkdocs is not installed")
    block = (
        '<div class="language-python doc-signature highlight"><pre>'
        "<span></span><code>{}</code></pre></div>"
    )
    lines = '<span class="line">f(\n</span><span class="line">)\n</span>'
    shown = hooks.on_page_content(block.format("f(\n)\n"))
    assert shown == block.format(lines)
    item = types.SimpleNamespace(title="<b>DCNv2Config a_b</b>", children=[])
    hooks.on_page_content("", types.SimpleNamespace(toc=[item]))
    assert item.title == "<b>DC<wbr>Nv2<wbr>Config a_<wbr>b</b>"


def test_docstrings_link_to_classes():
    docstrings = pytest.importorskip("docstrings", reason="griffe is missing")
    text = "`MLP` of `WukongLayer`: <x_i, `x`>\n>>> x <y"
    assert docstrings.linked(text, "wukong_tf.layers.MLP.call") == (
        "`MLP` of [`WukongLayer`][wukong_tf.layers.WukongLayer]: "
        "&lt;x_i, `x`>\n>>> x <y"
    )


def test_a_default_is_stated_once():
    hooks = pytest.importorskip("hooks", reason="mkdocs is not installed")
    item = (
        '<li class="doc-section-item field-body"><b>x</b> (int, default:\n'
        "  <code>1</code>\n) <p>{}</p></li>"
    )
    assert "(int)" in hooks.on_page_content(item.format("rows. Defaults to 1."))
    shown = hooks.on_page_content(item.format("rows."))
    assert '(int, default: <code class="short">1</code>)' in shown


def test_links_to_pages_have_their_titles():
    hooks = pytest.importorskip("hooks", reason="mkdocs is not installed")
    space = types.SimpleNamespace
    page = space(file=space(src_uri="api/layers.md"))
    pages = {"data.md": space(page=space(title="Data"))}
    shown = hooks.on_page_markdown(
        "See [data.md](../data.md#frappe) and [raw](../data.md).",
        page,
        space(get_file_from_path=pages.get),
    )
    assert shown == "See [Data](../data.md#frappe) and [raw](../data.md)."


def test_flags_in_texts_of_flags_are_code():
    text = flag_lists._plain(["With --on_bad_value=count: a_b, or `c_d`."])
    assert text == "With `--on_bad_value=count`: a\\_b, or `c_d`."


def spec_of(count):
    return wukong_tf.FeatureSpec(
        tuple(wukong_tf.CategoricalFeature(f"f{i}", 9) for i in range(count))
    )


def test_sizes_are_those_that_are_counted():
    page = (DOCS / "sizes.md").read_text("utf-8")
    rows = re.findall(r"^\| (\d+) \| (\d+) \| (\d.*) MB \|$", page, re.M)
    assert len(rows) > 5
    for n, width, rest in rows:
        config = wukong_tf.WukongConfig(
            spec_of(int(n)), embedding_dim=int(width)
        )
        found = cost(config, batch_size=1024)
        assert rest == (
            f"{config.num_fmb} | {config.mlp_units[0]} | "
            f"{found.dense_parameters:,} | {found.training_flop / 1e6:.1f} | "
            f"{found.activation_bytes / 1e6:.0f}"
        )
    for rows in (10**5, 10**6, 10**7, 10**8):
        sizes = [rows * 4 * (width + 1) / 1e6 for width in (16, 32, 64, 128)]
        texts = (
            f"{size / 1e3:.1f} GB" if rows > 10**6 else f"{size:.0f} MB"
            for size in sizes
        )
        assert f"| {rows:,} | {' | '.join(texts)} |" in page


@pytest.mark.parametrize(
    "page", sorted(DOCS.glob("*.md")), ids=lambda p: p.stem
)
def test_flowcharts_are_drawn(page):
    for block in re.findall(r"```mermaid\n(.*?)```", page.read_text(), re.S):
        svg, chart = flowchart.draw(block), flowchart.parse(block)
        assert svg.count("<rect") == len(chart.nodes) > 3
        assert svg.count('class="head"') == len(chart.edges)
        for lines in chart.nodes.values():
            for line in lines:
                assert f">{line.replace('&', '&amp;')}</text>" in svg


@pytest.mark.parametrize(
    "text, named",
    [
        ("graph LR\n a --> b", "flowchart TD"),
        ("flowchart TD\n a[x] --> b", "a --> b"),
        ('flowchart TD\n a["x"] --> b', "'b' has no text"),
        (
            'flowchart TD\n a["x"] --> b["y"]\n b --> c["z"]\n a --> c',
            "skips a rank",
        ),
        (f'flowchart TD\n a["{"x" * 99}"] --> b["y"]', "too long"),
    ],
)
def test_other_flowcharts_are_refused(text, named):
    with pytest.raises(ValueError, match=named):
        flowchart.draw(text)


def constants(node):
    """The constant parts of a text, or None if a node is none."""
    match node:
        case ast.Constant(str(text)):
            return [text]
        case ast.JoinedStr(values):
            parts = [""]
            for value in values:
                if isinstance(value, ast.Constant):
                    parts[-1] += value.value
                else:
                    parts.append("")
            return parts
        case ast.BinOp(left, ast.Add(), right):
            first, last = constants(left), constants(right)
            if first or last:
                *first, end = first or ["", ""]
                begin, *last = last or ["", ""]
                return [*first, end + begin, *last]
    return None


def trees(*folders):
    """Syntax trees of the sources of some folders."""
    for folder in folders:
        for path in (ROOT / folder).rglob("*.py"):
            if path != Path(__file__):
                yield ast.parse(path.read_text("utf-8"))


def texts(trees):
    """Constant parts of all texts in syntax trees."""
    for tree in trees:
        for node in ast.walk(tree):
            if parts := constants(node):
                yield parts


def catching_tests():
    """Syntax trees of the tests that look at an error, raised or printed."""
    for tree in trees("tests"):
        for test in tree.body:
            if isinstance(test, ast.FunctionDef) and (
                test.name.startswith("test_") and CATCHES & set(names_in(test))
            ):
                yield test


def names_in(tree):
    """Names and attributes that a syntax tree refers to."""
    for node in ast.walk(tree):
        match node:
            case ast.Name(name) | ast.Attribute(_, name):
                yield name


def first_line(parts):
    """The constant parts of a text's first line."""
    whole = "\0".join(parts).partition("\n")[0]
    return whole.split("\0")


def test_every_error_of_the_faq_is_raised_by_a_test():
    page = (DOCS / "faq.md").read_text("utf-8")
    page = page.partition("\n## Without an error")[0]
    errors = re.findall(r"^### .+\n\n```text\n(.+)\n```$", page, re.M)
    assert len(errors) == len(re.findall("^### ", page, re.M)) > 15
    ours = list(texts(trees(*CODE)))
    templates = [first_line(x) for x in ours if sum(map(len, x)) > 19]
    rules = {part for parts in ours for part in parts if len(part) > 13}
    named = {
        re.sub(r"\\(.)", r"\1", part)  # of a pattern
        for parts in texts(catching_tests())
        for part in parts
        if len(part) > 13 and (" " in part.strip() or part.startswith("--"))
    }
    for error in errors:
        ours = [
            parts
            for parts in templates
            if all(part in error for part in parts)
            and re.fullmatch(".*".join(map(re.escape, parts)), error)
        ]
        assert ours, f"no source has the text {error!r}"
        pieces = {part for part in rules | set().union(*ours) if part in error}
        assert any(
            text[start : start + 10] in piece
            for text in named
            if text in error
            for start in range(len(text) - 9)
            for piece in pieces
        ), f"no test raises {error!r}"
