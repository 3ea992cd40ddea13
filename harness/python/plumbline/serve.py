"""Serves an adapter for Plumbline: python -m plumbline.serve ADAPTER.py.

Requests come on standard input, replies go to standard output, a JSON object a line (harness/candidate/protocol.md).
"""

from __future__ import annotations

import gc
import io
import json
import os
import signal
import sys
from collections.abc import Callable
from typing import Any, TextIO

from plumbline import failure, user_code


def redirect_standard_streams() -> tuple[TextIO, TextIO]:
    """Streams of requests and replies. Standard input and output of the model are redirected, so that it cannot disturb them."""
    requests = os.fdopen(os.dup(0), "r", encoding="utf-8")
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    # Keeps prints in order with standard error.
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)
    return requests, replies


def make_answer(file: str) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """The function that answers requests for the adapter in `file`."""
    try:
        from plumbline.server import Server

        gc.freeze()  # keeps the garbage collector from scanning torch's objects
    except ImportError as error:  # an interpreter without torch or safetensors
        reason = failure.describe(error, file)
        return lambda request: {"id": request.get("id"), "error": reason}
    return Server(lambda specification: user_code.adapter_in(file, specification), file).answer


def serve(file: str, requests: TextIO, replies: TextIO) -> None:
    answer = make_answer(file)
    for line in requests:
        request = parse_request(line)
        reply = {"id": None, "error": {"kind": "failed", "message": "a request is a JSON object"}} if request is None else answer(request)
        print(json.dumps(reply), file=replies, flush=True)
        if request and request.get("request") == "bye":
            return


def parse_request(line: str) -> dict[str, Any] | None:
    """The request, or None where the line is no JSON object."""
    try:
        request = json.loads(line)
    except ValueError:
        return None
    return request if isinstance(request, dict) else None


def main() -> int:
    if len(sys.argv) != 2:
        print("usage: python -m plumbline.serve ADAPTER.py", file=sys.stderr)
        return 2
    # Ends at once and without a traceback, even within a long operation.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    requests, replies = redirect_standard_streams()
    serve(os.path.abspath(sys.argv[1]), requests, replies)
    return 0


if __name__ == "__main__":
    sys.exit(main())
