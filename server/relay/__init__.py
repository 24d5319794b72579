"""One chat: from the upstream's bytes to the client's, and every way in which it ends."""
