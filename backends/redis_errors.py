"""Redis's error replies: which of them mean "not the place to write", and what an operator should do about them."""

from __future__ import annotations

import re

from redis.exceptions import AuthenticationError, BusyLoadingError, ResponseError

from backends.base import StoreRefusedError, StoreUnavailableError

RIGHTS = ("client|setname", "select", "ping", "eval", "evalsha", "get", "set", "mget")
"""What every delivery needs. Scripts run GET and SET, and the server checks the user's rights inside them too."""
PUSH_RIGHTS = {
    "SPUBLISH": ("command|info", "spublish", "ssubscribe"),
    "PUBLISH": ("command|info", "publish", "subscribe"),  # servers older than Redis 7
    "": (),
}
"""What push needs besides, by the command that it publishes with."""
_OF_THE_COMMAND = ("NOSCRIPT", "CROSSSLOT", "WRONGTYPE")
_IN_SCRIPT = re.compile(r" script: [0-9a-f]*,? ?on @\S*$")
_ANSWERS = (ResponseError, AuthenticationError, BusyLoadingError)


def acl_line(namespace: str, publish: str) -> str:
    """The command that gives the user USER the rights a store needs; `publish` is a key of PUSH_RIGHTS."""
    channels = f"&{namespace}:* " if publish else ""
    commands = " ".join(f"+{right}" for right in (*RIGHTS, *PUSH_RIGHTS[publish]))
    return f"ACL SETUSER USER ~{namespace}:* {channels}{commands}"


def is_refusal(error: ResponseError) -> bool:
    """Whether another server behind the same address might answer better.

    READONLY, MISCONF, OOM, LOADING, NOPERM and the like, also inside a script's error: all but the few errors that are
    about one command or one key.
    """
    return not str(error).startswith(_OF_THE_COMMAND)


def unavailable(error: Exception, where: str, acl: str) -> StoreUnavailableError:
    """The driver's error as one of ours: one line with the server's own words, and what to do."""
    words = " ".join(_IN_SCRIPT.sub("", str(error)).split()) or type(error).__name__
    advice = ""
    if "permissions to" in words:
        advice = f"; this user needs: {acl}"
    elif isinstance(error, AuthenticationError) or words.startswith("NOAUTH"):
        advice = "; correct the user name and the password in the backend URL, special characters percent-encoded"
    kind = StoreRefusedError if isinstance(error, _ANSWERS) else StoreUnavailableError
    return kind(f"Redis at {where}: {words}{advice}")
