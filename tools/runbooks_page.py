"""The runbooks as a page of HTML (`core/agentpool_core/runbooks.html`), which operator and gateway serve.

The page has the anchors of docs/runbooks.md and stands alone: links to other pages of docs/ are plain text there.
`generate.py` writes or compares it.
"""

from __future__ import annotations

import re
from pathlib import Path

import markdown

SOURCE = Path(__file__).resolve().parent.parent / "docs/runbooks.md"
LINK_TO_A_PAGE = re.compile(r"\[([^\]]*)\]\((?!https?:|#)[^)]+\)")
LIST_IN_PARAGRAPH = re.compile(r"^(?!- )(\S.*\n)(?=- )", re.MULTILINE)
FRAME = """<!doctype html>
<!-- Generated from docs/runbooks.md by `make generate`; change that file, not this one. -->
<html lang="en">
<head>
  <meta charset="utf-8">
  <meta name="viewport" content="width=device-width, initial-scale=1">
  <title>AgentPool: runbooks</title>
  <link rel="stylesheet" href="../console/style.css">
</head>
<body>
<main class="calm">
{body}
</main>
</body>
</html>
"""


def page() -> str:
    """Return the page."""
    text = LINK_TO_A_PAGE.sub(r"\1", SOURCE.read_text())
    return FRAME.format(body=markdown.markdown(LIST_IN_PARAGRAPH.sub(r"\1\n", text), extensions=["toc"]))
