"""Values of `--node` and `--image`."""

import pytest

from agentpool_core.errors import SettingError
from agentpool_local.flags import check_image, check_node


@pytest.mark.parametrize("text", ["big", "big,cpu=8,nvidia.com/gpu=2,label:zone=a,taint:k=v:NoSchedule"])
def test_a_node_that_the_devcluster_reads_is_fine(text):
    """The check is the devcluster's own reader."""
    check_node(text)


@pytest.mark.parametrize(
    ("text", "reported"),
    [
        ("big,nvidia.com/gpu=lots", "nvidia.com/gpu: 'lots' is not a quantity"),
        ("Big", "'Big' is no node name"),
        ("big,cpu", "'cpu' has no '='"),
    ],
)
def test_a_node_that_cannot_be_read_is_refused_by_its_part(text, reported):
    """The error is a single line with the flag, the value, the part and the form."""
    with pytest.raises(SettingError) as raised:
        check_node(text)
    message = str(raised.value)
    assert message.startswith(f"--node: '{text}': ")
    assert reported in message
    assert "the form is NAME" in message
    assert "\n" not in message


def test_an_image_is_a_name_and_a_directory(tmp_path):
    """The directory must be there."""
    check_image(f"my/agents={tmp_path}")
    with pytest.raises(SettingError, match=r"--image: 'nothing': is not NAME=DIR; write"):
        check_image("nothing")
    with pytest.raises(SettingError, match=r"there is no directory .*absent; name the directory"):
        check_image(f"my/agents={tmp_path / 'absent'}")
