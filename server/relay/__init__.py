"""One chat: relay the upstream's bytes to the client, and end both connections."""
