"""Makes the mutants: the mutation tool's rules, line by line, less what is no arithmetic."""

import hashlib
import io
import random
import re
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
RULES = ["universal.rules", "c_like.rules", "cpp.rules", str(HERE / "plumbline.rules")]

# Rules of the tool that change no arithmetic: jumps out of nowhere, strings, loops turned into conditions.
NO_ARITHMETIC = re.compile(r'break;|continue;|^"\.\+"|^while|^else|^#include|fmt::')
# Nothing to compute; and messages, which a `throw` makes, to the end of its statement.
SKIPPED_LINE = re.compile(r"^\s*(#|namespace\b|using\b|struct\b|class\b|template\b|enum\b|public:|private:|$)")
MESSAGE = re.compile(r"\bthrow\b|\brefuse\(")
# What rules for single characters make of operators of two, and of a negative number.
NEVER_COMPILES = re.compile(r"===|[<>!]==|--\d|\*\*|<<>|[^ ]->=|\.\d*-\d|\(\s*,|\+[*/%]|; [*/%]\+|\w  +\w")
# Names that a rule may put in another's place only where they are known.
OPERANDS = set("keys queries values raw x k q gate up residual branch capacity length readable real_keys real_queries before".split())
STRING = re.compile(r'"(?:[^"\\]|\\.)*"')
OPERATOR = re.compile(r"[-+*/%<>=&|^!~]+")


@dataclass(frozen=True)
class Mutant:
    file: str  # relative to the repository
    line: int  # counted from 1
    function: str  # what regions.json calls the place
    kind: str
    before: str  # the line as it is, without comments
    after: str
    occurrence: int  # among equal lines of this function, counted from 0

    @property
    def id(self):
        text = "\0".join([self.file, self.function, " ".join(self.before.split()), " ".join(self.after.split()), str(self.occurrence)])
        return hashlib.sha256(text.encode()).hexdigest()[:12]


def without_comments(text):
    """Comments become blanks; everything else keeps its line and column."""
    pattern = re.compile(r'"(?:[^"\\]|\\.)*"|//[^\n]*|/\*.*?\*/', re.S)
    blank = lambda match: match[0] if match[0].startswith('"') else re.sub(r"[^\n]", " ", match[0])
    return pattern.sub(blank, text)


def fold(line):
    """(7+1) -> 8, +7 -> 7, -0 -> 0: the tool writes sums and signs where a reader would write the number."""
    line = re.sub(r"\((\d+)\+1\)", lambda m: str(int(m[1]) + 1), line)
    line = re.sub(r"\((\d+)-1\)", lambda m: str(int(m[1]) - 1), line)
    line = re.sub(r"(?<=[(,=] )\+(?=\d)|(?<=\()\+(?=\d)", "", line)
    return re.sub(r"(?<=\()-0\b(?!\.)|(?<=[(,=] )-0\b(?!\.)", "0", line)


def changed_span(before, after):
    """Where two lines differ: (start, end in before, end in after)."""
    start = 0
    while start < min(len(before), len(after)) and before[start] == after[start]:
        start += 1
    end = 0
    while end < min(len(before), len(after)) - start and before[-1 - end] == after[-1 - end]:
        end += 1
    return start, len(before) - end, len(after) - end


def token_at(line, position):
    """The identifier or number that covers a column, else an empty text."""
    for match in re.finditer(r"0x[0-9a-fA-F]+|\d[\d.]*|[A-Za-z_]\w*", line):
        if match.start() <= position < match.end() or (position == match.end() and match.end() == len(line)):
            return match[0]
    return ""


def parameter_types(line):
    """The types in a function's head, in order; None where the line is no head."""
    head = re.match(r"[A-Za-z].*?\((.*)\) (?:const )?{$", line.strip()) if not line.startswith(" ") else None
    return None if head is None else [" ".join(part.split()[:-1]) for part in head[1].split(",")]


def brackets(line):
    """The net number of each bracket, and how far below the line's start each goes."""
    net, deepest = {}, {}
    for character in STRING.sub('""', line):
        kind = {"(": "(", ")": "(", "[": "[", "]": "[", "{": "{", "}": "{"}.get(character)
        if kind:
            net[kind] = net.get(kind, 0) + (1 if character == kind else -1)
            deepest[kind] = min(deepest.get(kind, 0), net[kind])
    return net, deepest


def is_arithmetic(before, after, rule, identifiers, previous):
    if NO_ARITHMETIC.search(rule) or NEVER_COMPILES.search(after.strip()) and "/*" not in after:
        return False
    if parameter_types(before) is not None:  # a head: only parameters of one type can change places
        return parameter_types(before) == parameter_types(after) and "([," in rule
    if STRING.sub('""', before) == STRING.sub('""', after):
        return '"none"' in rule or '"tanh"' in rule
    if "/*" in after:  # a deleted statement: whole ones only
        return before.rstrip()[-1:] == ";" and previous[-1:] in ";{}" and "}" not in before and not re.match(r"\s*(return|const|auto|double|std::)", before)
    if brackets(before) != brackets(after):
        return False
    start, end, _ = changed_span(before, after)
    # In a type or a call of a pointer's member, not an operator: clang-format spaces binary operators.
    pattern = rule.split(" ==>")[0]
    if pattern in ("<", "([^-])>", "([^&])&([^&])", r"\*", r">>"):
        around = before[max(0, start - 2) : end + 2]
        if not re.search(r" (<|>|&|\*|>>|<<)=? ", around):
            return False
    if pattern == "-([^>])" and not re.search(r"- ", before[start : start + 3]):
        if after[start : start + 1] in "*/%":  # a unary minus
            return False
    if pattern.startswith(r"(\D)"):
        token = token_at(before, start) or token_at(before, start - 1)
        if re.match(r"[A-Za-z_]", token):
            return token_at(after, start) in identifiers
    return True


def kind_of(before, after, rule):
    pattern = rule.split(" ==>")[0]
    if "/*" in after:
        return "statement deleted"
    if pattern.startswith(r"(\D)"):
        return "constant or index"
    if pattern.startswith("([,"):
        return "arguments swapped"
    if "if" in pattern[:3] or "&&" in pattern or r"\|\|" in pattern:
        return "condition"
    if "true" in pattern or "false" in pattern:
        return "boolean argument"
    if OPERATOR.search(pattern.replace("\\", "").replace("(", "").replace(")", "")) and not re.search(r"[a-z]{3}", pattern):
        return "operator"
    return "function or operand"


def place_of(lines, places, number):
    """The place of regions.json whose start is nearest above a line."""
    found = None
    for place in places:
        begin, end = place["span"]
        if begin <= number <= end and (found is None or begin >= found["span"][0]):
            found = place
    return found


def locate(lines, places):
    """Each place: from the line that its pattern finds to the line where its indentation's closing brace stands."""
    located = []
    for place in places:
        begins = [i for i, line in enumerate(lines) if re.search(place["from"], line)]
        if not begins:
            raise SystemExit(f"regions.json: no line of the file matches {place['from']!r}; correct the pattern")
        begin = begins[0]
        ends = [i for i in range(begin, len(lines)) if re.search(place.get("to", r"^}"), lines[i])]
        if not ends:
            raise SystemExit(f"regions.json: nothing after line {begin + 1} matches the end of {place['name']!r}")
        located.append({**place, "span": (begin + 1, ends[0] + 1)})
    return located


def statement_before(lines, number):
    """What stands before a line (counted from 1) in its own statement."""
    begin = number - 1
    while begin > 0 and lines[begin - 1].strip()[-1:] not in ("", ";", "{", "}"):
        begin -= 1
    return " ".join(lines[begin : number - 1])


def mutants_of(root, file, places):
    from universalmutator import mutator

    original = (root / file).read_text()
    text = without_comments(original)
    lines = [line + "\n" for line in text.split("\n")]
    located = locate(original.split("\n"), places)
    identifiers = set(re.findall(r"[A-Za-z_]\w*", text))
    with redirect_stdout(io.StringIO()):
        raw = mutator.mutants_regexp(lines, ruleFiles=RULES, ignorePatterns=[])
    seen, found = set(), []
    for number, after, (rule, _), _ in raw:
        before = lines[number - 1]
        place = place_of(lines, located, number)
        if place is None or SKIPPED_LINE.search(before) or MESSAGE.search(before + statement_before(lines, number)):
            continue
        after = fold(after)
        previous = next((line.strip() for line in reversed(lines[: number - 1]) if line.strip()), "")
        unchanged = "".join(after.split()) == "".join(before.split())
        if unchanged or not is_arithmetic(before, after, rule, identifiers, previous):
            continue
        new = token_at(after, changed_span(before, after)[0])
        known = re.findall(r"\w+", "".join(lines[place["span"][0] - 1 : place["span"][1]]))
        if new in OPERANDS and new not in known:
            continue
        key = (number, "".join(after.split()))
        if key in seen:
            continue
        seen.add(key)
        begin = place["span"][0]
        occurrence = sum(1 for line in lines[begin - 1 : number - 1] if line.split() == before.split())
        found.append(Mutant(file, number, place["name"], kind_of(before, after, rule), before.rstrip("\n"), after.rstrip("\n"), occurrence))
    return found


def mutated_text(root, mutant):
    lines = without_comments((root / mutant.file).read_text()).split("\n")
    lines[mutant.line - 1] = mutant.after
    return "\n".join(lines)


def ordered(mutants, first, seed=20):
    """The files named in `first` come first, in their order; everything else in a fixed random order."""
    shuffled = sorted(mutants, key=lambda m: m.id)
    random.Random(seed).shuffle(shuffled)
    rank = {name: i for i, name in enumerate(first)}
    return sorted(shuffled, key=lambda m: rank.get(m.file, len(first)))
