"""What stands before the routes: protocol, limits, keys, hosts, ids, refusals."""
