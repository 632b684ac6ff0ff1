"""docs/security.md agrees with the code, and the bill of materials lists the installed packages."""

from __future__ import annotations

from pathlib import Path

from agentpool_core.queue import acl

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "security.md").read_text()


def test_the_page_shows_the_rules_of_the_code():
    """The block of ACL users on the page is the output of the module."""
    assert f"```text\n{acl.acl_file(pools='research/*')}\n```" in PAGE


def test_no_role_has_a_dangerous_command():
    """No role may administer the server, or read or delete keys of different applications."""
    dangerous = {
        "config",
        "flushall",
        "flushdb",
        "keys",
        "scan",
        "debug",
        "shutdown",
        "acl",
        "monitor",
        "script",
        "migrate",
    }
    for role in acl.Role:
        assert not dangerous & {command.partition("|")[0] for command in acl.commands(role)}


def test_rules_for_an_older_server_hold_only_known_commands():
    """Redis before 7.2 has no CLIENT SETINFO, and refuses rules with the command; the rest is equal."""
    for role in acl.Role:
        newest = acl.rules(role)
        assert acl.rules(role, version=(7, 2)) == newest
        assert acl.rules(role, version=(7, 0)) == [
            rule for rule in newest if rule not in {"+client|setinfo", "+waitaof"}
        ]
