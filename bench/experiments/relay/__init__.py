"""CPU time per relayed chunk, compared with a bare and a naive relay."""
