"""The HTTP client for the upstream: openai's package on aiohttp."""

from __future__ import annotations

import os

import httpx2
from openai import AsyncOpenAI, DefaultAioHttpClient

from server.relay.connections import install_connector
from server.settings import SettingError, Settings

CONNECT_S = 5.0
PROXY_VARIABLES = ("ALL_PROXY", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")
CERTIFICATE_VARIABLES = ("SSL_CERT_FILE", "SSL_CERT_DIR")
"""Environment variables that httpx2 reads by itself."""


def make_client(settings: Settings) -> AsyncOpenAI:
    """Create a worker's only client: creating one blocks the event loop for 20-40 ms.

    Raises `SettingError` for a proxy or certificates in the environment that cannot be used.
    """
    try:
        return _client(settings)
    except (ValueError, OSError, httpx2.InvalidURL) as error:  # its message may contain a proxy's password
        variables = CERTIFICATE_VARIABLES if isinstance(error, OSError) else PROXY_VARIABLES
        names = ", ".join(sorted(name for name in os.environ if name.upper() in variables)) or "OPENAI_BASE_URL"
        need = "the file must be readable" if variables is CERTIFICATE_VARIABLES else "a proxy is http://host:port"
        raise SettingError(f"no client for the upstream ({type(error).__name__}): check {names}: {need}") from error


def _client(settings: Settings) -> AsyncOpenAI:
    connections = settings.upstream_connections
    limits = httpx2.Limits(max_connections=connections, max_keepalive_connections=min(connections, 256))
    # Following a redirect would send the chat's content to any host that the upstream names.
    http = DefaultAioHttpClient(limits=limits, follow_redirects=False)
    client = AsyncOpenAI(
        base_url=settings.openai_base_url,
        api_key=settings.openai_api_key.get_secret_value() or "none",
        http_client=http,
        # No read timeout: aiohttp would set and cancel a timer per chunk, a fifth of a relay's CPU time. IdleTimeout
        # replaces it.
        timeout=httpx2.Timeout(None, connect=CONNECT_S),
        max_retries=0,  # a retry would hide the upstream's answer from the client, which decides itself
    )
    install_connector(client, http)
    return client
