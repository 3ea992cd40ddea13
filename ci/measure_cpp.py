"""Functions and classes of C++: tokens, matched braces, and what stands before each opening one.

It knows what our sources are written with: namespaces, classes, templates, constructors with initialisers, lambdas in
tables at namespace scope, and macros that begin a body (TEST_CASE("..."), REQUIREMENT("ID", "...")). It is no parser.
"""

import re
from typing import NamedTuple

from measured import Part, Unreadable


class Token(NamedTuple):
    text: str
    line: int


TOKENS = re.compile(
    r"""(?P<skip>\s+|//[^\n]*|/\*.*?\*/)
      | (?P<raw>(?:u8|[uUL])?R"(?P<fence>[^()\\\s]*)\(.*?\)(?P=fence)")
      | (?P<string>(?:u8|[uUL])?"(?:[^"\\\n]|\\.)*")
      | (?P<number>\.?\d(?:'?[\w.]|[eEpP][+-])*)
      | (?P<character>(?:u8|[uUL])?'(?:[^'\\\n]|\\.)+')
      | (?P<word>[A-Za-z_]\w*)
      | (?P<sign>::|->|<=>|[=!<>+*/%&|^-]=|&&|.)
    """,
    re.VERBOSE | re.DOTALL,
)
DIRECTIVE = re.compile(r"^[ \t]*#(?:[^\n\\]|\\.|\\\n)*", re.MULTILINE | re.DOTALL)
PAIRS = {"{": "}", "(": ")", "[": "]"}


def without_directives(text: str) -> str:
    """Blank lines instead of #include, #define and so on, but not within raw strings and comments."""
    pieces, at = [], 0
    for found in re.finditer(r'R"([^()\\\s]*)\(.*?\)\1"|/\*.*?\*/', text, re.DOTALL):
        pieces.append(DIRECTIVE.sub(lambda m: "\n" * m.group().count("\n"), text[at : found.start()]))
        pieces.append(found.group())
        at = found.end()
    pieces.append(DIRECTIVE.sub(lambda m: "\n" * m.group().count("\n"), text[at:]))
    return "".join(pieces)


def tokens_of(text: str) -> list[Token]:
    tokens, line = [], 1
    for found in TOKENS.finditer(without_directives(text)):
        if found.lastgroup != "skip":
            tokens.append(Token(found.group(), line))
        line += found.group().count("\n")
    return tokens


def matches_of(tokens: list[Token]) -> dict[int, int]:
    """Each bracket's partner, both ways."""
    partner: dict[int, int] = {}
    open_ones: list[int] = []
    for at, token in enumerate(tokens):
        if token.text in PAIRS:
            open_ones.append(at)
        elif token.text in PAIRS.values():
            if not open_ones or PAIRS[tokens[open_ones[-1]].text] != token.text:
                raise Unreadable(token.line, f"a {token.text} that closes nothing")
            partner[at] = open_ones.pop()
            partner[partner[at]] = at
    if open_ones:
        raise Unreadable(tokens[open_ones[-1]].line, f"a {tokens[open_ones[-1]].text} that is never closed")
    return partner


class Reader:
    def __init__(self, text: str) -> None:
        self.tokens = tokens_of(text)
        self.partner = matches_of(self.tokens)
        self.parts: list[Part] = []
        self.ended_by_initialiser = False

    def add(self, what: str, name: str, first: int, brace: int) -> None:
        line = self.tokens[first].line
        self.parts.append(Part(what, name, line, self.tokens[self.partner[brace]].line - line + 1))

    def scope(self, at: int, end: int, prefix: str) -> None:
        """Declarations of a namespace, a class or the whole file."""
        first = at
        while at < end:
            text = self.tokens[at].text
            if text in "([":
                self.expression(at + 1, self.partner[at], prefix)
                at = self.partner[at] + 1
                if self.is_whole_macro(first, at, end):
                    first = at
            elif text == "{":
                at = self.braced(first, at, prefix)
                if at >= end or self.tokens[at - 1].text == "}" and not self.continues(first, at):
                    first = at
            else:
                at += 1
                if text == ";" or (text == ":" and self.tokens[at - 2].text in ("public", "private", "protected")):
                    first = at

    def is_whole_macro(self, first: int, at: int, end: int) -> bool:
        """CATCH_REGISTER_REPORTER("name", Type) with no semicolon, before the next declaration."""
        name = self.tokens[first].text
        return name.isupper() and self.partner[at - 1] == first + 1 and at < end and re.match(r"\w", self.tokens[at].text) is not None

    def continues(self, first: int, at: int) -> bool:
        """Whether a declaration goes on after a closing brace: x{1}; or A() : x{1}, y{2} {}."""
        return self.ended_by_initialiser and self.tokens[at].text in (";", ",", "{")

    def braced(self, first: int, brace: int, prefix: str) -> int:
        """What the brace opens, by its head; returns what comes after its end."""
        end = self.partner[brace]
        kind, name = self.kind_of(first, brace)
        self.ended_by_initialiser = kind == "initialiser"
        if kind == "namespace":
            self.scope(brace + 1, end, prefix)
        elif kind == "class":
            self.add("class", prefix + name, first, brace)
            self.scope(brace + 1, end, f"{prefix}{name}::")
        elif kind == "function":
            self.add("function", prefix + name, first, brace)
        elif kind == "initialiser":
            self.expression(brace + 1, end, prefix)
        return end + 1

    def head(self, first: int, brace: int) -> list[int]:
        """The head's tokens at its own level: template parameters left out, brackets as their opening alone."""
        shown: list[int] = []
        at = first
        while at < brace:
            text = self.tokens[at].text
            if text == "template" and self.tokens[at + 1].text == "<":
                at = self.after_angles(at + 1)
                continue
            shown.append(at)
            at = self.partner[at] + 1 if text in PAIRS else at + 1
        return shown

    def after_angles(self, at: int) -> int:
        depth = 0
        while True:
            text = self.tokens[at].text
            if text in PAIRS:
                at = self.partner[at]
            depth += (text == "<") - (text == ">")
            at += 1
            if depth == 0:
                return at

    def kind_of(self, first: int, brace: int) -> tuple[str, str]:
        shown = self.head(first, brace)
        words = [self.tokens[at].text for at in shown]
        round_one = words.index("(") if "(" in words else len(words)
        if "namespace" in words[:2] or words[:1] == ["extern"] and len(words) == 2:
            return "namespace", ""
        if "enum" in words[:round_one]:
            return "enum", ""
        for keyword in ("class", "struct", "union"):
            if keyword in words[:2] and "=" not in words and (round_one == len(words) or "alignas" in words):
                after = words[words.index(keyword) + 1 :]
                names = [word for word in after[: (after + [":"]).index(":")] if word not in ("alignas", "(", "final", "[")]
                if "::" not in names and "<" not in names and len(names) > 1:
                    return "initialiser", ""  # struct Point point{1, 2};
                return "class", (names or ["(unnamed)"])[0]
        if self.is_assigned(words, round_one) or round_one == len(words) and "operator" not in words:
            if self.is_lambda(brace):
                name = words[words.index("=") - 1] if "=" in words else "lambda"
                return "function", name
            return "initialiser", ""
        if ":" in words[round_one:] and words[-1] not in ("(", "{", "try"):
            return "initialiser", ""  # x_{1} among a constructor's initialisers
        return "function", self.function_name(shown, round_one)

    @staticmethod
    def is_assigned(words: list[str], round_one: int) -> bool:
        return any(word == "=" and words[at - 1] != "operator" for at, word in enumerate(words[:round_one]) if at)

    def function_name(self, shown: list[int], round_one: int) -> str:
        words = [self.tokens[at].text for at in shown]
        if "operator" in words:
            at = words.index("operator")
            after = shown[at] + 1
            until = after + 2 if self.tokens[after].text in "([" else self.next_round(after)
            return self.qualified(words, at, "operator" + "".join(token.text for token in self.tokens[after:until]))
        if round_one >= 2 and words[round_one - 2] == "~":
            return self.qualified(words, round_one - 2, "~" + words[round_one - 1])
        name = self.qualified(words, round_one - 1, words[round_one - 1] if round_one else "?")
        if name.isupper() and "_" in name or name == "REQUIREMENT":  # a macro: what it is given tells one from the other
            opening = shown[round_one]
            given = [t.text for t in self.tokens[opening + 1 : self.partner[opening]] if t.text.startswith('"')]
            name += f"({given[0] if given else ''})"
        return name

    @staticmethod
    def qualified(words: list[str], at: int, name: str) -> str:
        while at > 1 and words[at - 1] == "::":
            name = f"{words[at - 2]}::{name}"
            at -= 2
        return name

    def next_round(self, at: int) -> int:
        while self.tokens[at].text != "(":
            at += 1
        return at

    def expression(self, at: int, end: int, prefix: str) -> None:
        """Initialisers and arguments at namespace or class scope: the lambdas in them are functions."""
        while at < end:
            if self.tokens[at].text == "{" and self.is_lambda(at):
                self.add("function", f"{prefix}lambda", self.lambda_start(at), at)
                at = self.partner[at]
            at += 1

    def is_lambda(self, brace: int) -> bool:
        return self.lambda_start(brace) >= 0

    def lambda_start(self, brace: int) -> int:
        """Where the lambda begins whose body this brace opens, else -1."""
        at = brace - 1
        for back in range(at, max(at - 24, 0), -1):  # past -> and the type that it returns
            if self.tokens[back].text in (";", "{", "}", "=", ","):
                break
            if self.tokens[back].text == "->":
                at = back - 1
                break
        while self.tokens[at].text in ("mutable", "noexcept", "constexpr"):
            at -= 1
        if self.tokens[at].text == ")":
            at = self.partner[at] - 1
        if self.tokens[at].text != "]":
            return -1
        start = self.partner[at]
        before = self.tokens[start - 1].text if start else ""
        is_index = before == "]" or before == ")" or (re.match(r"\w", before) is not None and before != "return")
        return -1 if is_index else start


def measure_cpp(text: str) -> list[Part]:
    reader = Reader(text)
    reader.scope(0, len(reader.tokens), "")
    return reader.parts
