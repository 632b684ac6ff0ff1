"""Selecting the files for the demo's agents."""

import pytest

from agentpool_core.errors import SettingError
from agentpool_core.jobs import Priority
from agentpool_local.demo.corpus import LARGEST_FILE_BYTES, find_documents


def write(root, path, content="text\n"):
    file = root / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    return file


def test_every_kind_and_priority_follows_from_name_and_place(tmp_path):
    """Source is code, prose is text, other files are reasoned about; files at the top go first and tests last."""
    for path in ("README.md", "pkg/a.py", "pkg/claim.lua", "tests/test_a.py", "deploy/pool.yaml"):
        write(tmp_path, path)
    found = {each.path: (each.kind, each.priority) for each in find_documents(tmp_path)}
    assert found == {
        "README.md": ("text", Priority.CRITICAL),
        "pkg/a.py": ("code", Priority.TASK),
        "pkg/claim.lua": ("code", Priority.TASK),
        "tests/test_a.py": ("code", Priority.INFO),
        "deploy/pool.yaml": ("reasoning", Priority.TASK),
    }


def test_generated_and_unreadable_files_are_skipped(tmp_path):
    """Hidden and generated directories, binary, empty, huge and linked files, and the report are no work."""
    write(tmp_path, "kept.py")
    for path in (".git/config", ".venv/lib/a.py", "node_modules/a.js", "a/__pycache__/a.txt", "build/a.py"):
        write(tmp_path, path)
    write(tmp_path, "picture.md", b"\x89PNG\0")
    write(tmp_path, "empty.md", "")
    write(tmp_path, "huge.md", "x" * (LARGEST_FILE_BYTES + 1))
    (tmp_path / "link.md").symlink_to(tmp_path / "kept.py")
    own = write(tmp_path, "report.md")
    assert [each.path for each in find_documents(tmp_path, leave_out=frozenset({own}))] == ["kept.py"]


@pytest.mark.parametrize(("name", "problem"), [("missing", "is not a directory"), ("bare", "contains no text file")])
def test_an_input_without_work_is_refused(tmp_path, name, problem):
    """A directory that is missing or empty is named, with the flag and the remedy."""
    (tmp_path / "bare").mkdir()
    with pytest.raises(SettingError, match=f"--input: .*{problem}"):
        find_documents(tmp_path / name)
