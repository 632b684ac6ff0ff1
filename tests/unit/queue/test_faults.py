"""What Redis says, in the words of each version, as errors of ours."""

from __future__ import annotations

import pytest
from redis.exceptions import ResponseError

from agentpool.errors import QueueAccessError
from agentpool.queue.faults import fault_of


@pytest.mark.parametrize(
    "words",
    [
        "NOPERM this user has no permissions to run the 'hset' command script: 1f0c, on @user_script:1.",
        "The user executing the script can't run this command or subcommand script: 1f0c, on @user_script:1.",
        "The user executing the script can't access at least one of the keys mentioned in the command arguments",
        "ACL failure in script: User reader has no permissions to run the 'hset' command",
    ],
    ids=["6.2", "7.0 command", "7.0 key", "7.2"],
)
def test_a_script_that_an_acl_refuses_is_an_access_error(words):
    """Each version of the server says it in its own words."""
    assert isinstance(fault_of(ResponseError(words), doing="submit"), QueueAccessError)
