"""Adds to the site what lies outside docs/ and what is made from sources."""

import logging
import os
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
_MADE = re.compile(r"^<!-- flags of ([\w.]+) -->$", re.M)
_CODE = re.compile(r"(?<!<span></span>)(?<!<pre>)<code>([^<]+)</code>")
_FLAG = re.compile(r"--\w+")
_PARTS = re.compile(r"[^(=/]+[(=/]*|[(=/]+")  # of a long word
_BLOCK = re.compile(r"<pre>.*?</pre>", re.S)
_UNNAMED = re.compile(r'(<li class="doc-section-item field-body">\s*)–\s')
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


def on_page_markdown(markdown, page, **kwargs):
    """Makes lists of flags, and links of pages that were moved together."""
    if page.file.src_uri in PAGES:
        return markdown.replace("](docs/", "](")
    if "/" not in page.file.src_uri:
        markdown = markdown.replace("](../", "](")
    return _MADE.sub(lambda found: flag_lists.lists(found[1]), markdown)


def on_page_content(html, page, **kwargs):
    """Marks where code is broken: between words, or after `(`, `=` or `/`."""
    html = _CODE.sub(_unbroken, _UNNAMED.sub(r"\1", html))
    if page.file.src_uri == "faq.md":  # errors are broken between words too
        html = _BLOCK.sub(lambda found: _FLAG.sub(_short, found[0]), html)
    return html


def _short(found):
    return f'<span class="short">{found[0]}</span>'


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
