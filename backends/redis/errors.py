"""Redis's error replies: which ones are refusals, and the advice in their messages."""

from __future__ import annotations

import re
from collections.abc import Iterable

from redis.exceptions import AuthenticationError, BusyLoadingError, ResponseError

from backends.errors import StoreRefusedError, StoreUnavailableError

RIGHTS = ("client|setname", "select", "ping", "eval", "evalsha", "get", "set", "mget")
"""Rights for every delivery. Scripts run GET and SET, and the server checks the user's rights inside them too."""
PUSH_RIGHTS = {
    "SPUBLISH": ("command|info", "spublish", "ssubscribe"),
    "PUBLISH": ("command|info", "publish", "subscribe"),  # servers older than Redis 7
    "": (),
}
"""Additional rights for push, by the command that publishes."""
_COMMAND_ERRORS = ("NOSCRIPT", "CROSSSLOT", "WRONGTYPE")
_IN_SCRIPT = re.compile(r" script: [0-9a-f]*,? ?on @\S*$")
_ERROR_REPLIES = (ResponseError, AuthenticationError, BusyLoadingError)


def acl_line(namespace: str, publish: str, others: Iterable[str] = ()) -> str:
    """The command that grants the user USER the rights a store needs; `publish` is a key of PUSH_RIGHTS."""
    channels = f"&{namespace}:* " if publish else ""
    commands = " ".join(f"+{right}" for right in (*RIGHTS, *PUSH_RIGHTS[publish], *others))
    return f"ACL SETUSER USER ~{namespace}:* {channels}{commands}"


def is_refusal(error: ResponseError) -> bool:
    """Whether the error concerns the server, so that another server behind the same address may take the command.

    READONLY, MISCONF, OOM, LOADING, NOPERM and so on, also inside a script's error: every error that is not about one
    command or one key.
    """
    return not str(error).startswith(_COMMAND_ERRORS)


def unavailable(error: Exception, address: str, acl: str) -> StoreUnavailableError:
    """Translate the driver's error: one line with the server's message and advice."""
    reason = " ".join(_IN_SCRIPT.sub("", str(error)).split()) or type(error).__name__
    advice = ""
    if "permissions to" in reason:
        advice = f"; this user needs: {acl}"
    elif isinstance(error, AuthenticationError) or reason.startswith("NOAUTH"):
        advice = "; correct the user name and the password in the backend URL, special characters percent-encoded"
    kind = StoreRefusedError if isinstance(error, _ERROR_REPLIES) else StoreUnavailableError
    return kind(f"Redis at {address}: {reason}{advice}")
