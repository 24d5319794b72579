"""Whether a service answers that it is ready."""

import httpx2


def is_ready(client: httpx2.Client) -> bool:
    try:
        return client.get("/readyz").status_code == 200
    except httpx2.TransportError:  # not listening yet
        return False
