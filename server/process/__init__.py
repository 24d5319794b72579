"""The supervisor, its worker processes, and their sockets, metrics folder and limits."""
