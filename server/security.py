"""Who is asking: optional API keys, each of which owns the chats that were started with it."""

from __future__ import annotations

import hmac
from hashlib import sha256
from typing import Annotated

from fastapi import Depends, HTTPException, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from server.settings import Settings

ANYBODY = "anybody"  # without API keys every caller is the same owner
_bearer = HTTPBearer(auto_error=False, description="One of API_KEYS, when the service has any")


class Keys:
    """The API keys of a service, hashed: the keys themselves are not kept."""

    def __init__(self, settings: Settings) -> None:
        self._digests = [sha256(key.encode()).digest() for key in settings.keys]

    def owner(self, presented: str | None) -> str | None:
        """The owner that this key stands for, None if it is not one of ours; without keys everybody is the same."""
        if not self._digests:
            return ANYBODY
        if presented is None:
            return None
        digest = sha256(presented.encode()).digest()
        # All of them are compared, each in constant time: the time taken tells nothing about any key.
        known = [hmac.compare_digest(digest, other) for other in self._digests]
        return digest.hex()[:32] if any(known) else None


def _owner(request: Request, bearer: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]) -> str:
    keys: Keys = request.app.state.keys
    owner = keys.owner(bearer.credentials if bearer else None)
    if owner is None:
        raise HTTPException(
            401, "This service needs an API key: Authorization: Bearer <key>", {"WWW-Authenticate": "Bearer"}
        )
    return owner


Owner = Annotated[str, Depends(_owner)]
"""Who is asking; 401 for nobody we know."""
