"""Adds to the site what lies outside docs/ and what is made from sources."""

import logging
import os
import posixpath
import re
from pathlib import Path

import flag_lists
import flowchart
from mkdocs.structure.files import File

DOCS = Path(__file__).resolve().parents[1]
ROOT = DOCS.parent
LONG = 35  # characters, for a line of code on a phone
PAGES = ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md")
_LINK = re.compile(r"\]\((?:\.\./)?((?:examples/|CITATION)[^)#]+)\)")
_NAMED = re.compile(r"\[[\w/]+\.md\]\(([\w./]+\.md)")  # links to pages by file
_MADE = re.compile(r"^<!-- flags of ([\w.]+) -->$", re.M)
_CODE = re.compile(r"(?<!<span></span>)(?<!<pre>)<code>([^<]+)</code>")
_FLAG = re.compile(r"--\w+")
_PARTS = re.compile(r"[^(=/]+[(=/]*|[(=/]+")  # of a long word
_BLOCK = re.compile(r'class="language-(?:sh|text)\b.*?</pre>', re.S)
_LINES = re.compile(
    r'(?<=class="language-)((?:pycon|python doc-signature) highlight">'
    r"<pre><span></span><code>)(.*?)\n(?=</code>)",
    re.S,
)
_HUMP = re.compile(
    r"(?<=[a-z0-9])(?=[A-Z])|(?<=_)(?=[a-z])|(?<=[A-Z])(?=[A-Z][a-z])"
)
_UNNAMED = re.compile(r'(<li class="doc-section-item field-body">\s*)–\s')
_FIELD = re.compile(r'<li class="doc-section-item field-body">.*?</li>', re.S)
_DEFAULT = re.compile(r",\s+default:\s+(<code.*?</code>)\s+\)", re.S)
_CELL = re.compile(r"<td([^>]*)>(.*?)</td>", re.S)
_TAG = re.compile(r"(<(pre|code|svg)\b.*?</\2>|<[^>]+>)", re.S)
_UNIT = re.compile(
    r"(?<=\d) (?=(?:%|±|x(?= \d)|[KMGT]i?B|B|m?s|[MGT]FLOP)(?!\w))"
)
_SIGN = re.compile(r"(?<=\w) (?==|±)|(?<=[±x]) (?=\d)")
_HYPHEN = re.compile(r"\b(?:\d(?:\.\d+)?e-\d+|[A-Z]{2,}-[A-Z]?\d+)\b")
_FOREIGN = re.compile(r'<(?:script|img|link|iframe)[^>]+"(?:https?:)?//[^>]*>')

log = logging.getLogger("mkdocs.hooks.site")


def on_config(config):
    """Draws `mermaid` blocks when the site is built."""
    config.mdx_configs["pymdownx.superfences"] = {
        "custom_fences": [
            {"name": "mermaid", "class": "flow", "format": flowchart.fence}
        ]
    }


def on_files(files, config):
    """Adds the pages at the root of the repository, and files they link to."""
    texts = [ROOT / name for name in PAGES] + sorted(DOCS.glob("*.md"))
    linked = {
        uri for path in texts for uri in _LINK.findall(path.read_text("utf-8"))
    }
    for uri in (*PAGES, *sorted(linked)):
        path = os.fspath(ROOT / uri)
        files.append(File.generated(config, uri, abs_src_path=path))
    return files


def on_page_markdown(markdown, page, files, **kwargs):
    """Makes lists of flags, and links of pages that were moved together.

    A link whose text is a page's file gets the page's title.
    """

    def titled(found):
        folder = posixpath.dirname(page.file.src_uri)
        uri = posixpath.normpath(posixpath.join(folder, found[1]))
        return f"[{files.get_file_from_path(uri).page.title}]({found[1]}"

    if page.file.src_uri in PAGES:
        markdown = markdown.replace("](docs/", "](")
    elif "/" not in page.file.src_uri:
        markdown = markdown.replace("](../", "](")
    markdown = _NAMED.sub(titled, markdown)
    return _MADE.sub(lambda found: flag_lists.lists(found[1]), markdown)


def on_page_content(html, page=None, **kwargs):
    """Marks where lines may break: code between words, or after `(=/`.

    Long names in the table of contents break between their parts, and broken
    lines of signatures and examples are indented.
    """
    for item in page.toc if page else ():
        _break_names(item)
    html = _LINES.sub(_indented, html)
    html = _FIELD.sub(_default_once, _UNNAMED.sub(r"\1", html))
    html = _CELL.sub(_wide, _CODE.sub(_unbroken, _together(html)))
    return _BLOCK.sub(lambda found: _FLAG.sub(_short, found[0]), html)


def _break_names(item):
    parts = _TAG.split(item.title)
    parts[::3] = [_HUMP.sub("<wbr>", text) for text in parts[::3]]
    del parts[2::3]
    item.title = "".join(parts)
    for child in item.children:
        _break_names(child)


def _indented(found):
    lines = found[2].split("\n")
    return found[1] + "".join(f'<span class="line">{x}\n</span>' for x in lines)


def _short(found):
    return f'<span class="short">{found[0]}</span>'


def _default_once(found):
    """Leaves a default to the parameter's description, if that has it."""
    kept = ")" if "Default" in found[0] else r", default: \1)"
    return _DEFAULT.sub(kept, found[0])


def _together(html):
    """Keeps numbers and their units on one line, and `e-6` and `DCN-V2`."""
    parts = _TAG.split(html)  # text, tag or element, its name, text, ...
    parts[::3] = [
        _HYPHEN.sub(_short, _SIGN.sub("\xa0", _UNIT.sub("\xa0", text)))
        for text in parts[::3]
    ]
    del parts[2::3]
    return "".join(parts)


def _wide(found):
    """Marks the cells of a table that need width on a phone."""
    if len(re.sub(r"<[^>]+>", "", found[2])) < LONG:
        return found[0]
    return f'<td{found[1]} class="wide">{found[2]}</td>'


def _unbroken(found):
    if len(found[1]) < LONG:
        return f'<code class="short">{found[1]}</code>'
    words = (
        "<wbr>".join(
            part if len(part) >= LONG else f'<span class="short">{part}</span>'
            for part in _PARTS.findall(word)
        )
        for word in found[1].split()
    )
    return f"<code>{' '.join(words)}</code>"


def on_post_page(output, page, **kwargs):
    """Warns of what a page would load from another host."""
    for found in _FOREIGN.findall(output):
        log.warning("%s loads %s", page.file.src_uri, found)
    return output
