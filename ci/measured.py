"""What measuring a source file makes."""

from typing import NamedTuple


class Part(NamedTuple):
    what: str  # function | class
    name: str
    line: int
    lines: int


class Unreadable(Exception):
    """A file whose braces or syntax cannot be followed."""

    def __init__(self, line: int, why: str) -> None:
        super().__init__(why)
        self.line = line
