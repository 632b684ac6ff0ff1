"""Every command of every page runs in a test, or is listed here with the reason.

A page's `sh` blocks run whole in the test that RUN names, or those with a mark if the page has marks. All other lines
that a reader types begin like an entry of ELSEWHERE.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"^(<!-- (?:run|tested)[^>]* -->\n)?```(sh|console|bash|shell)\n(.*?)^```", re.MULTILINE | re.DOTALL)
PAGES = sorted(
    path
    for pattern in ("*.md", "docs/**/*.md", "examples/**/*.md", "charts/**/*.md", "clients/*/*.md", "devcluster/*.md")
    for path in ROOT.glob(pattern)
    if path.name != "report.md" and "node_modules" not in path.parts
)
GUIDES = "tests/acceptance/test_guide_pages.py"
OPERATING = "tests/chart/test_operating_pages.py"
RUN = {
    "SKILL.md": "tests/acceptance/test_skill_page.py",
    "docs/agents.md": "tests/acceptance/test_agents_page.py",
    "docs/autoscaling.md": OPERATING,
    "docs/chaos.md": "tests/judge/test_judge.py",
    "docs/deploying.md": OPERATING,
    "docs/external-autoscalers.md": OPERATING,
    "docs/faq.md": OPERATING,
    "docs/first-agent.md": GUIDES,
    "docs/frameworks.md": "tests/acceptance/test_frameworks_page.py",
    "docs/front-doors.md": "tests/acceptance/test_front_doors_page.py",
    "docs/from-bullmq.md": GUIDES,
    "docs/from-celery.md": GUIDES,
    "docs/from-fastapi.md": GUIDES,
    "docs/gpus.md": OPERATING,
    "docs/handlers-command.md": "tests/integration/worker/test_command_page.py",
    "docs/install.md": "tests/chart/test_install_page.py",
    "docs/limits-and-schedules.md": GUIDES,
    "docs/operate.md": OPERATING,
    "docs/pipeline.md": GUIDES,
    "docs/quickstart.md": "tests/acceptance/test_quickstart.py",
    "docs/redis.md": OPERATING,
    "docs/runbooks.md": OPERATING,
    "docs/slo.md": OPERATING,
    "docs/submit.md": "tests/acceptance/test_submit_page.py",
    "docs/testing-handlers.md": GUIDES,
    "docs/usage.md": "tests/acceptance/test_usage_page.py",
    "examples/README.md": "tests/acceptance/test_examples_page.py",
}
ELSEWHERE = {
    "make ": "targets of the Makefile, which CI runs",
    ". .venv/bin/activate": "tests run in the virtual environment",
    "agentpool dev": "the page's test starts the system",
    "agentpool demo": "tests/acceptance/test_demo.py",
    'agentpool submit greet \'{"name": "Ada"}\' --pool my-agent --wait': "as in the quickstart",
    "python -m bench": "CI runs the benchmarks in small",
    "pip install -r requirements.txt": "the tests' environment has these packages",
    "agentpool limits ": "docs/limits-and-schedules.md and docs/usage.md have the same commands",
    "npm install ./clients/typescript": "tests/integration/gateway/test_typescript.py",
    "npm install CHECKOUT/clients/typescript": "tests/acceptance/test_front_doors_page.py",
    "docker ": "needs Docker: `make kind`",
    "REGISTRY=": "needs Docker: `make kind`",
    "helm install agentpool charts/agentpool --namespace agents": "tests/chart/test_install_page.py, with a Redis",
    "helm test agentpool": "tests/chart/test_install_page.py",
    "helm package charts/agentpool": "needs Helm's own binary: `make kind`",
    "helm install agentpool carry/": "the package of the line above",
    "pip download": "needs the package index",
    "pip install --no-index": "the files of the line above",
    "kubectl apply -f summarizer.yaml": "the file is the reader's",
    "export REDIS_URL=": "the address is the reader's, or that of a forwarded port",
    "kubectl --namespace agents port-forward": "the devcluster forwards no ports",
}


def blocks(page: Path) -> Iterator[tuple[str, str, str]]:
    """Yield mark, language and text of each block of commands."""
    yield from (match.groups(default="") for match in BLOCK.finditer(page.read_text()))


def typed(language: str, text: str) -> list[str]:
    """Return the commands of a block, each in a line; what a console prints is left out."""
    whole = text.replace("\\\n", " ").replace("|\n", "| ")
    lines = [line for line in whole.splitlines() if line.strip() and not line.startswith("#")]
    return [line[2:] for line in lines if line.startswith("$ ")] if language == "console" else lines


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_test_runs_the_commands_of_the_page(page: Path):
    """A new block needs a test, or a reason."""
    name, found = str(page.relative_to(ROOT)), list(blocks(page))
    marked = any(mark for mark, _, _ in found)
    left = [
        line
        for mark, language, text in found
        for line in typed(language, text)
        if not mark and (marked or language == "console" or name not in RUN)
    ]
    assert [line for line in left if not line.startswith(tuple(ELSEWHERE))] == []


def test_the_named_tests_read_their_pages():
    """The test of a page exists and names the page."""
    for page, test in RUN.items():
        text, stem = (ROOT / test).read_text(), Path(page).stem
        assert re.search(rf"\b{stem}\b", text) or "tests.judge" in text, f"{test} does not read {page}"


def test_the_first_screen_of_the_readme_is_that_of_the_quickstart():
    """The agent is the same, so the quickstart's test runs the README's commands, too."""
    readme, quickstart = ((ROOT / name).read_text() for name in ("README.md", "docs/quickstart.md"))
    program = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
    agents = [program.findall(text)[0].removeprefix("# my_agent.py\n") for text in (readme, quickstart)]
    assert agents[0] == agents[1]
    _, language, text = next(blocks(ROOT / "README.md"))
    commands = "\n".join(typed(language, text)).replace(" && ", "\n").splitlines()
    assert len(commands) > 3
    assert [command for command in commands if f"$ {command}" not in quickstart] == []
