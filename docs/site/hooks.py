"""Adds to the site what lies outside docs/ and what is made from sources."""

import logging
import re
from pathlib import Path

import flag_tables
import flowchart
from mkdocs.structure.files import File

ROOT = Path(__file__).resolve().parents[2]
PAGES = ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md")
FILES = ("CITATION.cff", "LICENSE", "configs/*", "examples/**/*.*")
_MADE = re.compile(r"^<!-- flags of ([\w.]+) -->$", re.M)
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
    for pattern in (*PAGES, *FILES):
        for path in sorted(ROOT.glob(pattern)):
            if path.is_file():
                uri = path.relative_to(ROOT).as_posix()
                files.append(
                    File.generated(config, uri, abs_src_path=str(path))
                )
    return files


def on_page_markdown(markdown, page, **kwargs):
    """Makes tables of flags, and links of pages that were moved together."""
    if page.file.src_uri in PAGES:
        return markdown.replace("](docs/", "](")
    if "/" not in page.file.src_uri:
        markdown = markdown.replace("](../", "](")
    return _MADE.sub(lambda found: flag_tables.tables(found[1]), markdown)


def on_post_page(output, page, **kwargs):
    """Warns of what a page would load from another host."""
    for found in _FOREIGN.findall(output):
        log.warning("%s loads %s", page.file.src_uri, found)
    return output
