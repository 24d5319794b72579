"""The statements of the PostgreSQL store. Each changes its row and notifies the owner in one step.

The table is UNLOGGED: after a crash the flags are useless, because the streams are gone too, and an update without
write-ahead log costs half. The fillfactor leaves room for a row's new version on its page, and no indexed column ever
changes, so that updates are HOT (heap-only): they write no index, and old versions are pruned without vacuum.
"""

from __future__ import annotations

import functools

SCHEMA_LOCK = 0x5706_7A7C  # any constant: serializes workers that create the schema at the same time
SCHEMA = """
CREATE SCHEMA IF NOT EXISTS {schema};
CREATE UNLOGGED TABLE IF NOT EXISTS {schema}.chats_v1 (
    request_id text PRIMARY KEY,
    generation text NOT NULL,
    worker text NOT NULL,
    owner text NOT NULL,
    state text NOT NULL,
    expires_at timestamptz NOT NULL
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.05);
"""
GRANTS = (
    "GRANT USAGE ON SCHEMA {schema} TO ROLE_NAME",
    "GRANT SELECT, INSERT, UPDATE, DELETE ON {schema}.chats_v1 TO ROLE_NAME",
)
"""Rights of a role if schema and table exist."""
GRANT_CREATE = "GRANT CREATE ON DATABASE DATABASE_NAME TO ROLE_NAME"
"""Right of a role that creates schema and table itself."""
EXISTS = "SELECT to_regclass('{schema}.chats_v1') IS NOT NULL"
RECORD = """
INSERT INTO {schema}.chats_v1 AS c (request_id, generation, owner, worker, state, expires_at)
SELECT *, 'live', now() + $5 * interval '1 second' FROM unnest($1::text[], $2::text[], $3::text[], $4::text[])
ON CONFLICT (request_id) DO UPDATE SET
    generation = EXCLUDED.generation, owner = EXCLUDED.owner, worker = EXCLUDED.worker,
    expires_at = EXCLUDED.expires_at,
    state = CASE WHEN c.generation = EXCLUDED.generation AND c.state IN ('aborted', 'repeated')
                   OR c.state = 'early' AND c.owner = EXCLUDED.owner AND c.expires_at > now()
            THEN 'aborted' ELSE 'live' END
WHERE c.expires_at <= now() OR CASE WHEN c.generation = EXCLUDED.generation THEN c.state <> 'ended'
                                    ELSE c.state NOT IN ('live', 'aborted') END
RETURNING request_id, generation, state
"""
# Kept short for the latency of a Stop; FOUND looks up the reason only when no row was updated.
FLAG = """
UPDATE {schema}.chats_v1 SET state = 'aborted'
WHERE request_id = $1 AND owner = $2 AND state = 'live' AND expires_at > now()
RETURNING generation, worker,
    CASE WHEN $3 THEN pg_notify('{schema}_abort_' || worker, generation || ' ' || request_id) END
"""
FOUND = """
SELECT CASE WHEN owner = $2 THEN state ELSE 'foreign' END, generation, worker FROM {schema}.chats_v1
WHERE request_id = $1 AND expires_at > now()
"""
REMEMBER = """
INSERT INTO {schema}.chats_v1 AS c (request_id, generation, worker, owner, state, expires_at)
VALUES ($1, '-', '-', $2, 'early', now() + $3 * interval '1 second')
ON CONFLICT (request_id) DO UPDATE SET
    generation = '-', worker = '-', owner = EXCLUDED.owner, state = 'early', expires_at = EXCLUDED.expires_at
WHERE c.expires_at <= now() OR c.state = 'early' AND c.owner = EXCLUDED.owner
RETURNING state
"""
STATES = "SELECT request_id, generation, state FROM {schema}.chats_v1 WHERE request_id = ANY($1)"
REASSERT = """
WITH reasserted AS (
    INSERT INTO {schema}.chats_v1 AS c (request_id, generation, owner, worker, state, expires_at)
    SELECT *, 'repeated', now() + $5 * interval '1 second' FROM unnest($1::text[], $2::text[], $3::text[], $4::text[])
    ON CONFLICT (request_id) DO UPDATE SET
        generation = EXCLUDED.generation, owner = EXCLUDED.owner, worker = EXCLUDED.worker,
        state = CASE WHEN c.expires_at <= now() THEN 'repeated' WHEN c.state = 'live' THEN 'aborted' ELSE c.state END,
        expires_at = greatest(c.expires_at, EXCLUDED.expires_at)
    WHERE c.expires_at <= now() OR c.generation = EXCLUDED.generation AND c.state <> 'ended'
    RETURNING request_id, generation, worker
)
SELECT request_id, generation,
    CASE WHEN $6 THEN pg_notify('{schema}_abort_' || worker, generation || ' ' || request_id) END FROM reasserted
"""
# An UPDATE returns new values only, hence the join. It takes no lock, so an abort that commits while this statement
# waits for its row is not returned.
RELEASE = """
UPDATE {schema}.chats_v1 AS c SET state = 'ended', expires_at = now() + $3 * interval '1 second'
FROM {schema}.chats_v1 AS old
WHERE c.request_id = $1 AND c.generation = $2 AND old.request_id = c.request_id
RETURNING old.state IN ('aborted', 'repeated')
"""
HEARTBEAT = """
WITH held AS (SELECT FROM {schema}.chats_v1 WHERE request_id = $1 AND expires_at > now()), beat AS (
    INSERT INTO {schema}.chats_v1 AS c (request_id, generation, worker, owner, state, expires_at)
    VALUES ($1, '-', $2, '', 'beat', now() + $3 * interval '1 second')
    ON CONFLICT (request_id) DO UPDATE SET expires_at = EXCLUDED.expires_at
    RETURNING worker
)
SELECT EXISTS (SELECT FROM held), CASE WHEN $5 THEN pg_notify('{schema}_abort_' || worker, $4) END FROM beat
"""
SEEK = """
SELECT EXISTS (SELECT FROM {schema}.chats_v1 WHERE request_id = $1 AND expires_at > now()),
    CASE WHEN $3 THEN pg_notify('{schema}_abort_all', $2) END
"""
SWEEP = "DELETE FROM {schema}.chats_v1 WHERE expires_at < now() - interval '1 second'"


@functools.cache
def in_schema(statement: str, schema: str) -> str:
    """The statement for this schema; cached, so that the driver hashes the same string object only once."""
    return statement.format(schema=schema)
