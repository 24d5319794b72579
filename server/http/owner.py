"""The dependency of endpoints that need an API key; async, because FastAPI runs others in a thread."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from server.http.security import OWNER

_bearer = HTTPBearer(auto_error=False, description="One of API_KEYS, if the service has any")


async def _owner(request: Request, _: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]) -> str:
    owner: str = request.scope[OWNER]  # KeyError: RequestGuard does not guard this path, so the request fails
    return owner


Owner = Annotated[str, Depends(_owner)]
"""The request's owner; RequestGuard has answered 401 to requests without a valid key."""
