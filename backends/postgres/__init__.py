"""The PostgreSQL store; only this package imports asyncpg. Import `PostgresStore` from `backends.postgres.store`."""
