"""Signatures of A2A agent cards, by the SDK: a client verifies with the public keys that a card did not change.

The key is an EC key (P-256) in a PEM file. A signature is made once for each card, because each one is different.
"""

from __future__ import annotations

import hashlib
import json
from functools import lru_cache
from pathlib import Path
from typing import Any

from a2a.types import AgentCard
from a2a.utils.signing import ProtectedHeader, create_agent_card_signer
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from jwt.algorithms import ECAlgorithm

from agentpool_core.errors import SettingError

ALGORITHM = "ES256"
CARDS_KEPT = 1_000  # signed, of all pools
_ID_CHARS = 16


class CardSigner:
    """The key that signs the cards of a gateway."""

    def __init__(self, pem: bytes, key: EllipticCurvePrivateKey) -> None:
        self._pem = pem
        public: dict[str, Any] = ECAlgorithm.to_jwk(key.public_key(), as_dict=True)
        digest = hashlib.sha256(json.dumps(public, sort_keys=True).encode()).hexdigest()
        self._public = public | {"kid": digest[:_ID_CHARS], "alg": ALGORITHM, "use": "sig"}
        self._signature_of = lru_cache(CARDS_KEPT)(self._sign)

    @classmethod
    def read(cls, path: Path) -> CardSigner:
        """Return the signer with the key in a PEM file. Raises SettingError."""
        try:
            pem = path.read_bytes()
            key = load_pem_private_key(pem, password=None)
        except (OSError, ValueError, TypeError) as error:
            raise _refused(path, f"holds no private key that can be read: {type(error).__name__}") from error
        if not isinstance(key, EllipticCurvePrivateKey) or not isinstance(key.curve, SECP256R1):
            raise _refused(path, "holds no EC key on the curve P-256")
        return cls(pem, key)

    def public_keys(self) -> list[dict[str, Any]]:
        """Return the public key as a list of JSON Web Keys."""
        return [self._public]

    def sign(self, card: AgentCard, keys_url: str) -> None:
        """Add a signature to a card; `keys_url` is the address of the public keys."""
        signed = AgentCard.FromString(self._signature_of(card.SerializeToString(deterministic=True), keys_url))
        card.signatures.extend(signed.signatures)

    def _sign(self, card: bytes, keys_url: str) -> bytes:
        header = ProtectedHeader(kid=self._public["kid"], alg=ALGORITHM, jku=keys_url, typ="JOSE")
        return create_agent_card_signer(self._pem, header)(AgentCard.FromString(card)).SerializeToString()


def _refused(path: Path, problem: str) -> SettingError:
    remedy = "make one: openssl ecparam -name prime256v1 -genkey -noout -out FILE"
    return SettingError(field="--a2a-card-key", value=path, problem=problem, remedy=remedy)
