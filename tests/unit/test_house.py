"""The house rules that no linter knows."""

from __future__ import annotations

import ast
import importlib
import re
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

ROOT = Path(__file__).resolve().parents[2]
DEMO_REPORT = "report.md"
PACKAGES = (
    "core/agentpool_core",
    "operator/agentpool_operator",
    "worker/agentpool_worker",
    "gateway/agentpool_gateway",
    "devcluster/agentpool_devcluster",
    "local/agentpool_local",
)
MAX_MODULE_LINES = 400


def modules() -> list[Path]:
    """Every module of every package."""
    return sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))


def pages(*folders: str) -> list[Path]:
    """The project's pages at the root and in these folders, except the report of `make demo`."""
    root = [path for path in ROOT.glob("*.md") if path.name != DEMO_REPORT]
    return [*root, *(path for folder in folders for path in (ROOT / folder).rglob("*.md"))]


def suite() -> list[Path]:
    """Every test file."""
    return sorted((ROOT / "tests").rglob("test_*.py"))


def test_the_operator_folder_does_not_shadow_the_standard_library():
    """`import operator` must find Python's module, so our folder of that name is no package."""
    assert not (ROOT / "operator/__init__.py").exists()
    assert not hasattr(importlib.import_module("operator"), "__path__")


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(ROOT)))
def test_a_module_has_a_docstring_and_stays_small(path: Path):
    """Each module opens with a docstring and has at most 400 lines."""
    source = path.read_text()
    assert ast.get_docstring(ast.parse(source)), f"{path} has no docstring"
    assert len(source.splitlines()) <= MAX_MODULE_LINES, f"{path} has two reasons to change: split it"


@pytest.mark.parametrize("path", suite(), ids=lambda p: str(p.relative_to(ROOT)))
def test_a_test_has_a_sentence(path: Path):
    """Each test function's docstring is a sentence."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
            docstring = ast.get_docstring(node) or ""
            assert re.match(r"\S+ \S+ .*[.?!:]$", docstring, re.DOTALL), f"{path.name}:{node.lineno} {node.name}"


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_is_typed(package: str):
    """Each package ships py.typed, so that users' type checkers read it."""
    assert (ROOT / package / "py.typed").exists()


def test_paths_of_the_kubernetes_api_are_built_in_a_single_place():
    """Only `agentpool_core.kube.paths` checks names. The devcluster serves the paths, and is exempt."""
    served = ROOT / "devcluster/agentpool_devcluster/api"
    for path in modules():
        if path == ROOT / "core/agentpool_core/kube/paths.py" or path.is_relative_to(served):
            continue
        tree = ast.parse(path.read_text())
        texts = [node for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)]
        docstrings = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        found = [
            f"{path.relative_to(ROOT)}:{node.lineno}"
            for node in texts
            if id(node) not in docstrings and re.search(r"^/?apis?/|/apis?/|^/apis?$", node.value)
        ]
        assert not found, f"{found}: use agentpool_core.kube.paths"


def test_the_operator_uses_public_parts_of_kopf_only():
    """A private module or class of kopf may change with any release (decision 19)."""
    private = re.compile(r"kopf\._|\bkopf\.\w+\._")
    found = [str(path.relative_to(ROOT)) for path in modules() if private.search(path.read_text())]
    assert not found


def test_the_devcluster_is_a_distribution_of_its_own():
    """No part of the devcluster is in the wheel of `agentpool`; the devcluster's wheel holds modules and command."""
    first, second = (tomllib.loads((ROOT / f"{part}pyproject.toml").read_text()) for part in ("", "devcluster/"))
    assert not any("devcluster" in path for path in first["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"])
    assert second["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"] == ["agentpool_devcluster"]
    assert "devcluster" in second["project"]["entry-points"]["agentpool.commands"]
    assert "devcluster" not in first["project"]["entry-points"]["agentpool.commands"]
    assert any(
        need.startswith(second["project"]["name"]) for need in first["project"]["optional-dependencies"]["local"]
    )


# Modules that use private names of a dependency; pyproject.toml must exclude the next major version.
PRIVATE_USES = {
    "core/agentpool_core/queue/connection/redis_internals.py": "redis",
}


def programs() -> list[Path]:
    """Every Python file of the packages, benches, tools, examples and tests."""
    folders = (*PACKAGES, "bench", "tools", "examples", "tests")
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


def private_names(tree: ast.AST) -> Iterator[str]:
    """Names with a leading underscore that come from a different distribution, imported or by `getattr`."""
    for node in ast.walk(tree):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "getattr":
            named = node.args[1]
            names = [f"getattr.{named.value}"] if isinstance(named, ast.Constant) else []
        for name in names:
            top, *inner = name.split(".")
            if not top.startswith(("agentpool_", "tests")) and any(re.match(r"_[^_]", part) for part in inner):
                yield name


def test_no_private_name_of_a_dependency_is_used():
    """A release of the dependency may rename the name. The exceptions are few, and need a cap of the version."""
    used = {str(path.relative_to(ROOT)): list(private_names(ast.parse(path.read_text()))) for path in programs()}
    assert len(used) > 400
    assert {path: names for path, names in used.items() if names and path not in PRIVATE_USES} == {}


def test_a_dependency_whose_private_names_are_used_has_a_cap():
    """The exceptions are as few as the code needs, and no major version is installed untested."""
    needs = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    for path, name in PRIVATE_USES.items():
        source = (ROOT / path).read_text()
        assert "SLF001" in source or list(private_names(ast.parse(source))), f"{path} is no exception any more"
        assert any(re.match(rf"{name}\b.*,<\d+$", need) for need in needs), f"{name} has no cap"
    waived = {str(path.relative_to(ROOT)) for path in modules() if "SLF001" in path.read_text()}
    assert waived <= {*PRIVATE_USES, "worker/agentpool_worker/lease/watchdog.py"}  # a function of Python


def test_every_command_loads_and_has_a_help_text():
    """Each entry point of `agentpool` is a click command with a help text."""
    from importlib.metadata import entry_points

    commands = entry_points(group="agentpool.commands")
    assert {"crd", "demo", "dev", "devcluster", "operator", "worker"} <= {entry.name for entry in commands}
    for entry in commands:
        command = entry.load()
        assert isinstance(command, click.Command), entry.name
        assert command.help, entry.name


def test_no_file_names_a_package_host():
    """Constraints and scripts must work behind any mirror, so they name no package host."""
    hosts = "|".join(("py" + r"pi\.org", "python" + r"hosted\.", "registry." + "npm" + "js", "deb." + r"debian\.org"))
    found = subprocess.run(
        ["git", "grep", "-nIE", hosts, "--", "."], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert found.stdout == ""


def test_paths_in_the_documents_exist():
    """The repository contains each path that a document shows as code or links to."""
    paths = re.compile(
        r"`((?:core|operator|worker|gateway|devcluster|local|docs|tests|bench|examples|crds|charts)/[\w./-]*)`"
    )
    links = re.compile(r"\]\((?!https?:|#|mailto:)([^)#]+)[^)]*\)")
    documents = pages("docs", "examples")
    for document in documents:
        text = document.read_text()
        missing = [name for name in paths.findall(text) if not (ROOT / name).exists()]
        missing += [name for name in links.findall(text) if not (document.parent / name).exists()]
        assert not missing, f"{document.relative_to(ROOT)} names {missing}"


def test_every_make_target_that_the_documents_name_exists():
    """A command `make X` in a document has the target X."""
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for document in pages("docs"):
        code = re.findall(r"`make ([a-z ]+)[`A-Z]|^\$ make ([a-z]+)", document.read_text(), re.MULTILINE)
        named = {word for pair in code for words in pair for word in words.split()}
        assert named <= targets, f"{document.relative_to(ROOT)} names {named - targets}"


TESTED = re.compile(r"(tests/[\w./-]*\w)(?:::(\w+))?")


def test_tests_that_a_page_names_exist():
    """A path below `tests`, also outside of backticks, and the function behind `::`."""
    for page in pages("docs", "charts"):
        for path, function in TESTED.findall(page.read_text()):
            assert (ROOT / path).exists(), f"{page.name} names {path}"
            if function:
                assert f"def {function}(" in (ROOT / path).read_text(), f"{page.name} names {path}::{function}"


def test_every_claim_of_the_security_page_names_its_test():
    """Each row of a table of threats names a test."""
    page = (ROOT / "docs/security.md").read_text()
    tables = re.findall(r"^\| threat \| protection \|\n\|---\|---\|\n((?:\|.*\n)+)", page, re.MULTILINE)
    rows = [row for table in tables for row in table.splitlines()]
    assert len(rows) > 20
    assert [row for row in rows if not (TESTED.search(row) or "`make lint`" in row)] == []


NAMED_IN_FULL = (
    "gateway",
    "worker",
    *(f"core/agentpool_core/{part}" for part in ("cli", "commands", "doctor", "process")),
)


@pytest.mark.parametrize("folder", NAMED_IN_FULL)
def test_a_constant_names_its_unit_in_full(folder: str):
    """The unit is `_SECONDS`, not `_S`: a reader of a call sees no comment."""
    short = re.compile(r"^_?[A-Z][A-Z_]*_S\b", re.MULTILINE)
    assert [str(path) for path in (ROOT / folder).rglob("*.py") if short.search(path.read_text())] == []


@pytest.mark.parametrize("folder", ["core", "gateway", "worker", "operator", "local"])
def test_a_logger_is_named_after_its_package(folder: str):
    """The name is `logging.getLogger(__name__)` or a name below the package, so a level for a package applies."""
    named = re.compile(r'^\w+ = logging\.getLogger\("(\w+)', re.MULTILINE)
    for path in (ROOT / folder).rglob("*.py"):
        package = path.relative_to(ROOT / folder).parts[0]
        assert set(named.findall(path.read_text())) <= {package}, path


def test_ci_makes_the_tools_without_which_tests_are_skipped():
    """A skip names its target of make, and CI makes the target before the tests: a skipped test protects nothing."""
    workflow = (ROOT / ".github/workflows/ci.yaml").read_text()
    made = {target for line in re.findall(r"run: make (.+)", workflow) for target in line.split()}
    named = {target for path in suite() for target in re.findall(r"missing: make ([\w-]+)", path.read_text())}
    assert {"api", "a2a-js"} <= named <= made
