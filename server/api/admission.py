"""The refusal of a chat before its body is read: its owner starts or runs too many, or the worker takes no more."""

from __future__ import annotations

from starlette.responses import Response
from starlette.types import Scope

from server.http.errors import error_response
from server.http.security import OWNER
from server.ops import metrics
from server.ops.logs import LOG
from server.worker import AdmissionError, Worker

CHAT_PATHS = ("/chat/", "/v1/chat/completions")


def refuse_chat(scope: Scope) -> Response | None:
    """Return the refusal of the chat that this request starts; None for other requests.

    It has no id, because the body may contain it. A chat may still be refused later (see Worker.admit).
    """
    if scope["path"] not in CHAT_PATHS or scope["method"] != "POST":
        return None
    worker: Worker = scope["app"].state.worker
    try:
        worker.check_admission(scope[OWNER])
    except AdmissionError as error:
        reason = f"refused_{error.status}"
        metrics.count_chat(reason)
        LOG.info("chat", extra={"finish_reason": reason})
        return error_response(error.status, error.detail, {"X-Worker": worker.name} | error.headers)
    return None
