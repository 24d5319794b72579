"""The Redis store; only this package imports redis-py. Import `RedisStore` from `backends.redis.store`."""
