"""docs/security.md says what the code does, and the bill of materials lists what is installed."""

from __future__ import annotations

from pathlib import Path

from agentpool_core.queue import acl

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "security.md").read_text()


def test_the_page_shows_the_rules_of_the_code():
    """The block of ACL users is the one that the module makes."""
    assert f"```text\n{acl.acl_file(pools='research/*')}\n```" in PAGE


def test_no_role_has_a_dangerous_command():
    """Neither administration nor anything that looks at or deletes what is not the pool's."""
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


def test_rules_for_an_older_server_hold_only_commands_that_it_knows():
    """Redis before 7.2 has no CLIENT SETINFO, and refuses a user whose rules name it; nothing else differs."""
    for role in acl.Role:
        newest = acl.rules(role)
        assert acl.rules(role, version=(7, 2)) == newest
        assert acl.rules(role, version=(7, 0)) == [
            rule for rule in newest if rule not in {"+client|setinfo", "+waitaof"}
        ]
