"""Puts many mutants into one program: each is a copy of its function, chosen by a number when the program runs.

Compiling and linking each mutant alone takes three times as long as judging it. A mutant outside of a plain function
(a lambda in a class, a constant) is still compiled alone.
"""

import re
from dataclasses import dataclass

CHOICE = """#include <cstdlib>
static int mutation_number() {
  static const int number = std::getenv("PLUMBLINE_MUTANT") ? std::atoi(std::getenv("PLUMBLINE_MUTANT")) : 0;
  return number;
}
"""
# The same while the candidate runs, and no mutant while what it is judged by does.
GUARDED = CHOICE.replace("static int", 'extern "C" { int plumbline_in_candidate = 0; }\nstatic int').replace("return number", "return plumbline_in_candidate ? number : 0")
HEAD = re.compile(r"^(?P<result>[A-Za-z][\w:&<>, ]*?[\s&*])(?P<owner>(?:[A-Z]\w*::)*)(?P<name>\w+)\((?P<parameters>.*)\)(?P<const> const)? {$", re.S)


@dataclass(frozen=True)
class Function:
    begin: int  # lines, counted from 0, end exclusive
    end: int
    body: int  # the first line after the head
    result: str
    owner: str
    name: str
    parameters: str
    const: str


def functions(lines):
    """The plain functions that start in the first column; no templates and no constructors."""
    found = []
    begin = 0
    while begin < len(lines):
        if not re.match(r"[A-Za-z]", lines[begin]) or re.match(r"namespace|struct|class|using|template|enum|const ", lines[begin]):
            begin += 2 if lines[begin].startswith("template") else 1
            continue
        head = begin
        while head < len(lines) and not lines[head].rstrip().endswith(("{", ";", "}")):
            head += 1
        match = HEAD.match("\n".join(lines[begin : head + 1]).rstrip())
        end = next((i for i in range(head, len(lines)) if lines[i].startswith("}")), None)
        if match is None or end is None or match["owner"] == match["name"] + "::":
            begin += 1
            continue
        found.append(Function(begin, end + 1, head + 1, match["result"], match["owner"], match["name"], match["parameters"], match["const"] or ""))
        begin = end + 1
    return found


def split_parameters(parameters):
    parts, depth, current = [], 0, ""
    for character in parameters:
        depth += character in "<({"
        depth -= character in ">)}"
        if character == "," and depth == 0:
            parts.append(current)
            current = ""
        else:
            current += character
    return [part.strip() for part in [*parts, current] if part.strip()]


def names_of(parameters):
    return [re.search(r"(\w+)$", part)[1] for part in split_parameters(parameters)]


def renamed(function, lines, suffix):
    text = "\n".join(lines[function.begin : function.end])
    return re.sub(rf"\b{re.escape(function.owner + function.name)}\s*\(", f"{function.owner}{function.name}__{suffix}(", text, count=1)


def assemble(lines, chosen, guarded=False):
    """One file with every mutant of `chosen` (number -> (line counted from 0, text)), all inside plain functions.

    Returns (text, owner of each line: a mutant's number or 0, member declarations by class).
    """
    by_function = {}
    for function in functions(lines):
        own = {n: (at, text) for n, (at, text) in chosen.items() if function.begin <= at < function.end}
        if own:
            by_function[function] = own
    output, owners, declarations = [], [], {}

    def emit(text, owner):
        new = text.split("\n")
        output.extend(new)
        owners.extend([owner] * len(new))

    emit(GUARDED if guarded else CHOICE, 0)
    position = 0
    for function, own in by_function.items():
        emit("\n".join(lines[position : function.begin]), 0)
        result = re.sub(r"\bconstexpr\b", "inline", function.result)
        arguments = ", ".join(names_of(function.parameters))
        emit(renamed(function, lines, 0), 0)
        for number, (at, text) in own.items():
            changed = list(lines)
            changed[at] = text
            emit(renamed(function, changed, number), number)
        cases = "".join(f"case {n}: return {function.name}__{n}({arguments}); " for n in own)
        emit(f"{result}{function.owner}{function.name}({function.parameters}){function.const} {{", 0)
        emit(f"  switch (mutation_number()) {{ {cases}default: return {function.name}__0({arguments}); }}\n}}", 0)
        if function.owner:
            for n in [0, *own]:
                declaration = f"{result}{function.name}__{n}({function.parameters}){function.const};"
                declarations.setdefault(function.owner[:-2], []).append(declaration)
        position = function.end
    emit("\n".join(lines[position:]), 0)
    return "\n".join(output), owners, declarations


def declare(header, name, declarations):
    """A header's text with more members in the class `name`."""
    begin = re.search(rf"^(class|struct) {name}\b[^;]*?{{", header, re.M)
    end = header.index("\n};", begin.end())
    return header[:end] + "\n public:\n  " + "\n  ".join(declarations) + header[end:]
