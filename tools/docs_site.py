"""Hooks of MkDocs for the documentation site (`mkdocs.yml`).

The site has pages from outside of docs/ (BORROWED), and copies of the other files that pages link to, so every link of
the repository works on the site. Each page is also there as Markdown beside its HTML, and `llms.txt` lists the pages by
the navigation. A browser draws Mermaid diagrams with a script of another host, so the site has a table instead.
"""

from __future__ import annotations

import posixpath
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from mkdocs.structure.files import File

sys.path.insert(0, str(Path(__file__).parent))  # MkDocs loads this file by its path
import scaling_lab

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure import StructureItem
    from mkdocs.structure.files import Files
    from mkdocs.structure.nav import Navigation
    from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parent.parent
BORROWED = {
    "index.md": "README.md",
    "CHANGELOG.md": "CHANGELOG.md",
    "CONTRIBUTING.md": "CONTRIBUTING.md",
    "SECURITY.md": "SECURITY.md",
    "SKILL.md": "SKILL.md",
    "charts/agentpool/README.md": "charts/agentpool/README.md",
    "clients/typescript/README.md": "clients/typescript/README.md",
    "devcluster/README.md": "devcluster/README.md",
    "examples/README.md": "examples/README.md",
    "examples/repo-analyst/README.md": "examples/repo-analyst/README.md",
}  # page of the site -> file of the repository
LINK = re.compile(r"\[([^\]]*)\]\((?!https?:|mailto:|#)([^)#\s]+)((?:#[^)\s]*)?)\)")
DIAGRAM = re.compile(r"```mermaid\nstateDiagram-v2\n(.*?)```", re.DOTALL)
FENCE = re.compile(r"(^```.*?^```$)", re.MULTILINE | re.DOTALL)
LIST_IN_PARAGRAPH = re.compile(r"^(?!- )(\S.*\n)(?=- )", re.MULTILINE)
ARROW = re.compile(r"^ *(\S+) --> (\S+?): (.*)$", re.MULTILINE)


class Site:
    """The state of one build."""

    nav: Navigation
    markdown: dict[str, str]  # by page, with the links of the site


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Add the decision records to the navigation, so that a new one needs no line there."""
    records = sorted(path.name for path in (ROOT / "docs/decisions").glob("0*.md"))
    (explain,) = (section["Explain"] for section in config.nav or () if "Explain" in section)
    explain.append({"Decisions": [f"decisions/{name}" for name in ("README.md", *records)]})
    return config


def on_pre_build(config: MkDocsConfig) -> None:
    """Forget an earlier build, as of `mkdocs serve`."""
    del config
    Site.markdown = {}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages from outside of docs/, and the Python of the page "Try the scaling"."""
    for page, source in BORROWED.items():
        files.append(File.generated(config, page, abs_src_path=str(ROOT / source)))
    files.append(File.generated(config, f"{scaling_lab.FOLDER}/model.zip", content=scaling_lab.archive()))
    for path in scaling_lab.pyodide_files():
        place = f"{scaling_lab.FOLDER}/pyodide/{path.name}"
        files.append(File.generated(config, place, abs_src_path=str(path)))
    return files


def on_nav(nav: Navigation, config: MkDocsConfig, files: Files) -> Navigation:
    """Keep the navigation for llms.txt: pages have their titles later."""
    del config, files
    Site.nav = nav
    return nav


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turn the links of the repository into links of the site, and diagrams into tables."""
    here = page.file.src_uri
    source = ROOT / BORROWED.get(here, f"docs/{here}")

    def on_site(link: re.Match[str]) -> str:
        text, target, anchor = link.groups()
        found = (source.parent / target).resolve()
        uri = uri_of(found)
        if uri is None:
            return text if found.is_dir() else link[0]
        if files.get_file_from_path(uri) is None:
            files.append(File.generated(config, uri, abs_src_path=str(found)))
        return f"[{text}]({posixpath.relpath(uri, posixpath.dirname(here) or '.')}{anchor})"

    Site.markdown[here] = LINK.sub(on_site, markdown)
    return DIAGRAM.sub(lambda diagram: as_table(diagram[1]), with_lists(Site.markdown[here]))


def on_post_build(config: MkDocsConfig) -> None:
    """Write each page as Markdown, and llms.txt."""
    site = Path(config.site_dir)
    for page, text in Site.markdown.items():
        (site / page).write_text(text)
    head = f"# {config.site_name}\n\n> {config.site_description}\n"
    (site / "llms.txt").write_text(head + "".join(index(Site.nav.items)))


def uri_of(path: Path) -> str | None:
    """Return the place of a repository's file on the site; None for a missing file, or a folder without a README."""
    readme = path / "README.md"
    path = readme if readme.is_file() else path
    if not path.is_file():
        return None
    name = path.relative_to(ROOT).as_posix()
    page = next((page for page, source in BORROWED.items() if source == name), None)
    return page or name.removeprefix("docs/")


def with_lists(markdown: str) -> str:
    """Put an empty line before each list, as Python-Markdown needs and GitHub does not; code stays as it is."""
    parts = FENCE.split(markdown)
    parts[::2] = (LIST_IN_PARAGRAPH.sub(r"\1\n", part) for part in parts[::2])
    return "".join(parts)


def as_table(diagram: str) -> str:
    """Return the transitions of a state diagram as a Markdown table."""
    rows = [f"| {start} | {end} | {by} |\n" for start, end, by in ARROW.findall(diagram.replace("[*]", "–"))]
    return "| from | to | by |\n|---|---|---|\n" + "".join(rows)


def index(items: Iterable[StructureItem]) -> Iterator[str]:
    """Yield the lines of llms.txt for a part of the navigation: a heading for each section, a link for each page."""
    for item in items:
        if item.is_section:
            yield f"\n## {item.title}\n\n"
            yield from index(item.children or ())
        elif item.is_page:
            yield f"- [{item.title}]({item.file.src_uri}): {summary(Site.markdown[item.file.src_uri])}\n"


def summary(markdown: str) -> str:
    """Return the first sentence of a page."""
    parts = re.sub(r"^#+ .*\n", "\n", markdown, flags=re.MULTILINE).split("\n\n")
    paragraphs = (
        part.strip() for part in parts if part.strip() and not part.strip().startswith(("<", "!", "|", "```"))
    )
    text = " ".join(re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", next(paragraphs, "")).split()).removeprefix("**Goal.** ")
    return re.split(r"(?<=[.:]) ", text, maxsplit=1)[0].rstrip(":")
