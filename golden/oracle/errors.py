"""The two ways in which golden files can be wrong, each a sentence for a person."""


class InputError(Exception):
    """The evidence cannot be used: missing, unreadable, altered, contradictory. Exit status 2."""


class Different(Exception):
    """The evidence can be read and says something else than the formulas. Exit status 1."""
