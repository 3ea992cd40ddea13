"""Describes an error in one line, with its place in the user's code."""

from __future__ import annotations

import glob
import os
import sys
import sysconfig
import traceback

LONGEST_MESSAGE = 500
OWN_DIRECTORY = os.path.dirname(os.path.abspath(__file__))


def describe(error: BaseException, file: str | None = None) -> dict[str, str]:
    """The `error` object of a reply: kind, message and, where known, where. `file`: the adapter's, named where no line is known."""
    lines = str(error).strip().splitlines()
    message = f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
    result = {"kind": "failed", "message": message[:LONGEST_MESSAGE]}
    where = getattr(error, "where", None) or place_of(error) or (shortened(file) if file else None)
    if where:
        result["where"] = where
    return result


def place_of(error: BaseException) -> str | None:
    """The deepest line of the user's own code that the error passed through: "my_model.py:42"."""
    if isinstance(error, SyntaxError) and error.filename and is_users(error.filename):
        return f"{shortened(error.filename)}:{error.lineno}"
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if is_users(frame.filename)]
    return f"{shortened(frames[-1].filename)}:{frames[-1].lineno}" if frames else None


def is_users(file: str) -> bool:
    """Whether a file belongs to the user: not to this package, the standard library or an installed package."""
    file = os.path.abspath(file)
    if not os.path.isfile(file) or within(file, OWN_DIRECTORY):
        return False
    roots = [os.path.abspath(root) for root in sys.path if within(file, os.path.abspath(root))]
    root = max(roots, key=len, default=os.path.dirname(file))
    library = sysconfig.get_path("stdlib")
    # Installed packages have *.dist-info directories beside them.
    return not within(root, library) and not glob.glob(os.path.join(glob.escape(root), "*.dist-info"))


def within(path: str, directory: str) -> bool:
    return os.path.join(path, "").startswith(os.path.join(directory, ""))


def shortened(file: str) -> str:
    file = os.path.abspath(file)
    return os.path.relpath(file) if within(file, os.getcwd()) else file
