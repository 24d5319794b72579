"""Request handling before the routes: protocol, limits, API keys, hosts, chat ids, error responses."""
