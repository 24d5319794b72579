"""Optional API keys; each key is the owner of the chats that were started with it."""

from __future__ import annotations

import hmac
from hashlib import sha256

from starlette.types import Scope

from server.settings import Settings

ANONYMOUS = "anybody"  # the owner of all chats of a service without API keys
OWNER = "stopwatch.owner"
"""Scope key: the owner, set by request_guard.RequestGuard after the key was accepted."""
MISSING_KEY = "This service needs an API key: Authorization: Bearer <key>"


class ApiKeys:
    """The API keys of a service, stored as hashes."""

    def __init__(self, settings: Settings) -> None:
        self._digests = [sha256(key.encode()).digest() for key in settings.keys]

    def owner(self, key: str | None) -> str | None:
        """Return the owner for this key, None for an unknown key; without API keys it is always ANONYMOUS."""
        if not self._digests:
            return ANONYMOUS
        if key is None:
            return None
        digest = sha256(key.encode()).digest()
        # Compare all keys, each in constant time: the duration must not depend on any key.
        matches = [hmac.compare_digest(digest, other) for other in self._digests]
        return digest.hex()[:32] if any(matches) else None

    def owner_of_request(self, scope: Scope) -> str | None:
        """Return the owner for a request's Authorization header; None if the key is missing or unknown."""
        if not self._digests:
            return ANONYMOUS
        # Of several headers with the same name the first counts, as in Starlette.
        header = next((value for name, value in scope["headers"] if name == b"authorization"), b"")
        scheme, _, key = header.decode("latin-1").partition(" ")
        return self.owner(key.strip(" ") if scheme.lower() == "bearer" else None)
