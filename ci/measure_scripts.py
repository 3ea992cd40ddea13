"""Functions and classes of Python, by its own parser, and of shell scripts, by their layout."""

import ast
import re
from typing import Union

from measured import Part, Unreadable

Scope = Union[ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef]


def measure_python(text: str) -> list[Part]:
    try:
        tree = ast.parse(text)
    except SyntaxError as error:
        raise Unreadable(error.lineno or 1, error.msg) from error
    parts: list[Part] = []

    def visit(node: ast.AST, prefix: str) -> None:
        for child in ast.iter_child_nodes(node):
            inner = prefix
            if isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
                what = "class" if isinstance(child, ast.ClassDef) else "function"
                lines = (child.end_lineno or child.lineno) - child.lineno + 1
                parts.append(Part(what, prefix + child.name, child.lineno, lines))
                inner = f"{prefix}{child.name}."
            visit(child, inner)

    visit(tree, "")
    return parts


HEAD = re.compile(r"^(\s*)(?:function\s+)?([\w:-]+)\s*\(\)\s*([{(])(.*)$")
HERE = re.compile(r"<<-?\s*(['\"]?)([A-Za-z_]\w*)\1")


def measure_shell(text: str) -> list[Part]:
    """A function ends with the first closing brace that stands where its name does; text of <<END is passed over."""
    parts: list[Part] = []
    name, indent, closing, began, until = "", "", "", 0, ""
    for number, line in enumerate(text.splitlines(), 1):
        if until:
            if line.strip() == until:
                until = ""
            continue
        here = HERE.search(line) if "<<<" not in line else None
        if here:
            until = here.group(2)
        head = HEAD.match(line)
        if not name and head:
            closing = "}" if head.group(3) == "{" else ")"
            if head.group(4).split(" #")[0].rstrip().endswith(closing):
                parts.append(Part("function", head.group(2), number, 1))
            else:
                indent, name, began = head.group(1), head.group(2), number
        elif name and line.startswith(indent + closing):
            parts.append(Part("function", name, began, number - began + 1))
            name = ""
    if name:
        raise Unreadable(began, f"function {name} has no closing {closing} of its own indentation")
    return parts
