"""Which errors of the servers are refusals, so that another server behind the same address may take the command."""

import asyncpg
import pytest
from redis.exceptions import ResponseError

from backends.postgres import errors as postgres_errors
from backends.redis import errors as redis_errors


@pytest.mark.parametrize(
    ("message", "refusal"),
    [
        ("READONLY You can't write against a read only replica.", True),
        ("READONLY You can't write against a read only replica. script: 1f, on @user_script:9.", True),
        ("ERR Error running script (call to f_1f): @user_script:9: -READONLY You can't write", True),
        ("MISCONF Errors writing to the AOF file", True),
        ("LOADING Redis is loading the dataset in memory", True),
        ("OOM command not allowed when used memory > 'maxmemory'.", True),
        ("MASTERDOWN Link with MASTER is down", True),
        ("CLUSTERDOWN The cluster is down", True),
        ("NOREPLICAS Not enough good replicas to write.", True),
        ("TRYAGAIN Multiple keys request during rehashing of slot", True),
        ("MOVED 3999 127.0.0.1:6381", True),
        ("NOPERM User bob has no permissions to run the 'evalsha' command", True),
        ("NOAUTH Authentication required.", True),
        ("ERR ACL failure in script: No permissions to access a channel", True),
        ("NOSCRIPT No matching script.", False),
        ("CROSSSLOT Keys in request don't hash to the same slot", False),
        ("WRONGTYPE Operation against a key holding the wrong kind of value", False),
    ],
)
def test_which_error_replies_are_refusals(message: str, refusal: bool) -> None:
    assert redis_errors.is_refusal(ResponseError(message)) is refusal


@pytest.mark.parametrize(
    ("sqlstate", "refusal"),
    [
        *((state, True) for state in ("25006", "42501", "0A000", "53100", "53200", "53300", "58030", "XX001")),
        *((state, True) for state in ("57P01", "57P02", "57P03", "57P04", "57P05")),
        *(
            (state, False)
            for state in ("22021", "23505", "40001", "40P01", "54000", "42P01", "3F000", "55P03", "57014", "08006")
        ),
    ],
)
def test_which_sqlstates_are_refusals(sqlstate: str, refusal: bool) -> None:
    assert postgres_errors.is_refusal(asyncpg.PostgresError.new({"C": sqlstate, "M": "words"})) is refusal
