"""Who is asking: optional API keys, each of which owns the chats that were started with it."""

from __future__ import annotations

import hmac
from hashlib import sha256
from typing import Annotated

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from starlette.types import Scope

from server.settings import Settings

ANYBODY = "anybody"  # without API keys every caller is the same owner
OWNER = "stopwatch.owner"
"""Where a request's owner is found once its key has been accepted (limits.Gate)."""
NO_KEY = "This service needs an API key: Authorization: Bearer <key>"
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

    def owner_of(self, scope: Scope) -> str | None:
        """The owner that a request's Authorization header stands for."""
        if not self._digests:
            return ANYBODY
        # Of several headers with one name the first counts, as in Starlette.
        given = next((value for name, value in scope["headers"] if name == b"authorization"), b"")
        scheme, _, key = given.decode("latin-1").partition(" ")
        return self.owner(key.strip(" ") if scheme.lower() == "bearer" else None)


def _owner(request: Request, _: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]) -> str:
    owner: str = request.scope[OWNER]  # a KeyError means that the gate does not guard this path: nobody gets in
    return owner


Owner = Annotated[str, Depends(_owner)]
"""Who is asking; the gate has answered 401 to anybody else."""
