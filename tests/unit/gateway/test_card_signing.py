"""The key that signs agent cards: files that hold none are refused with the remedy."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from agentpool_core.errors import SettingError
from agentpool_gateway.card_signing import CardSigner


def pem(curve: ec.EllipticCurve) -> bytes:
    key = ec.generate_private_key(curve)
    return key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())


@pytest.mark.parametrize(
    ("content", "problem"),
    [(None, "cannot"), (b"secret", "holds no private key"), (pem(ec.SECP384R1()), "no EC key on the curve P-256")],
)
def test_a_file_without_a_usable_key_is_refused(tmp_path, content, problem: str):
    """The error names the option and the way to make a key, and shows nothing of the file."""
    path = tmp_path / "key.pem"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SettingError, match="openssl ecparam") as refused:
        CardSigner.read(path)
    assert "--a2a-card-key" in str(refused.value)
    assert "secret" not in str(refused.value)
    assert problem == "cannot" or problem in str(refused.value)


def test_the_public_key_has_no_private_part(tmp_path):
    """A JSON Web Key of a private key would have `d`."""
    path = tmp_path / "key.pem"
    path.write_bytes(pem(ec.SECP256R1()))
    (public,) = CardSigner.read(path).public_keys()
    assert {"kty", "crv", "x", "y", "kid", "alg", "use"} == set(public)
