"""The documentation site, built as `make docs` builds it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FETCHED = re.compile(r"<(?:script|img|iframe)[^>]* src=[\"']?(?:https?:)?//|<link[^>]* href=[\"']?(?:https?:)?//")


def built(target: Path, config: Path = ROOT / "mkdocs.yml") -> subprocess.CompletedProcess[str]:
    """Build the site into a folder."""
    return subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--config-file", str(config), "--site-dir", str(target)],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built site: pages, links and anchors exist, and each page of docs/ is in the navigation."""
    target = tmp_path_factory.mktemp("site")
    done = built(target)
    assert done.returncode == 0, done.stdout + done.stderr
    return target


def test_each_page_exists_as_html_as_markdown_and_in_llms_txt(site: Path):
    """A program reads the Markdown beside each page, and finds the page by llms.txt."""
    listed = re.findall(r"^- \[.+\]\((\S+\.md)\)(?:: \S.*)$", (site / "llms.txt").read_text(), re.MULTILINE)
    pages = {path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").rglob("*.md")}
    assert pages | {"index.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md", "SKILL.md"} <= set(listed)
    assert len(listed) == len(set(listed))
    for name in listed:
        html = re.sub(r"README\.md$", "index.md", name).removesuffix(".md") + ".html"
        assert (site / html).is_file(), html
        assert (site / name).read_text().startswith("# "), name


def test_the_links_of_the_markdown_copies_have_targets(site: Path):
    """The site also holds the linked files outside of docs/."""
    for copy in site.rglob("*.md"):
        links = re.findall(r"\]\((?!https?:|mailto:|#)([^)#\s]+)[^)]*\)", copy.read_text())
        assert [link for link in links if not (copy.parent / link).exists()] == [], copy


def test_a_browser_fetches_nothing_from_other_hosts(site: Path):
    """Fonts, scripts, styles and pictures are part of the site; so is the index of the search."""
    pages = list(site.rglob("*.html"))
    assert len(pages) > 40
    assert [page.name for page in pages if FETCHED.search(page.read_text())] == []
    assert 'class="mermaid"' not in "".join(page.read_text() for page in pages)  # drawn by a script from elsewhere
    assert "Mutation tests" in (site / "search/search_index.json").read_text()


def test_the_state_diagram_is_a_table(site: Path):
    """Each arrow is a row, with the start and the end of a job's life as dashes."""
    arrows = (ROOT / "docs/state-machine.md").read_text().count(" --> ")
    page = (site / "state-machine.html").read_text()
    table = page.partition("<th>by</th>")[2].partition("</table>")[0]
    assert table.count("<tr>") == arrows
    assert "<td>running</td>\n<td>succeeded</td>\n<td>settle</td>" in table


def test_a_list_that_follows_its_introduction_is_a_list(site: Path):
    """GitHub shows a list without an empty line above; lines of code stay."""
    assert "<p><strong>Alternatives.</strong></p>\n<ul>" in (site / "decisions/0011-quarantine.html").read_text()
    assert not [page.name for page in site.rglob("*.html") if re.search(r"<p>[^<]*\n- ", page.read_text())]
    assert "sharing:\n  timeSlicing:\n" in re.sub(r"<[^>]+>", "", (site / "gpus.html").read_text())


def test_a_broken_link_fails_the_build(tmp_path: Path):
    """A missing anchor fails the build, too, and so does a page without a place in the navigation."""
    docs = shutil.copytree(ROOT / "docs", tmp_path / "docs")
    (docs / "redis.md").write_text("# Redis\n\n[gone](gone.md) [nowhere](operate.md#nowhere)\n")
    (docs / "left-out.md").write_text("# Left out\n")
    config = tmp_path / "mkdocs.yml"
    config.write_text(f"INHERIT: {ROOT}/mkdocs.yml\ndocs_dir: docs\nhooks: [{ROOT}/tools/docs_site.py]\n")
    done = built(tmp_path / "site", config)
    assert done.returncode == 1
    said = done.stdout + done.stderr
    assert [word for word in ("gone.md", "#nowhere", "left-out.md", "strict mode") if word not in said] == []
