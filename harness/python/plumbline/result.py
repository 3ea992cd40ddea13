"""The result of a verification, read from its document (harness/result/result.schema.json)."""

from __future__ import annotations

import html
import json
import os
from collections import Counter
from dataclasses import dataclass, fields
from typing import Any

VERDICTS = {"pass": "passed", "fail": "failed", "error": "errors", "not assessed": "not_assessed",
            "not applicable": "not_applicable"}
SIGNS = {0: "✔", 1: "✘", 3: "?"}
MOST_SENTENCES = 3        # of one requirement
MOST_REQUIREMENTS = 20    # told in full
LONGEST_SENTENCE = 600


Titled = tuple[str, list[str]]          # a title and sentences
Section = tuple[str, list[Titled]]


class CouldNotJudge(Exception):
    """There is no verdict; the message says why. result: what was found nevertheless, or None."""

    def __init__(self, message: str, result: Result | None = None) -> None:
        super().__init__(message)
        self.result = result


@dataclass(frozen=True)
class Check:
    """One comparison. actual: what was seen, at worst_index; differences and tolerances are None where there are none."""

    within: bool
    what: str
    expected: str
    actual: str
    sentence: str
    elements: int
    worst_difference: object
    tolerance: object
    tolerance_reason: str
    worst_index: list[int]


@dataclass(frozen=True, repr=False)
class Requirement:
    """What was found about one requirement. verdict: "pass", "fail", "error", "not assessed", "not applicable"."""

    id: str
    chapter: int
    statement: str
    level: str  # "must" decides; "should" is counted and never does
    source: str
    verdict: str
    reason: str  # why it is an error, not assessed or not applicable
    finding: str
    seconds: float
    checks: list[Check]

    @property
    def sentences(self) -> list[str]:
        """What was found wrong, in words."""
        wrong = [check for check in self.checks if not check.within]
        return [self.reason] * bool(self.reason) + [
            check.sentence or f"{check.what}: got {check.actual}, expected {check.expected}" for check in wrong]

    @property
    def title(self) -> str:
        return f"{self.id}: {self.statement}" + (" (should)" if self.level == "should" else "")

    def __repr__(self) -> str:
        return f"<{self.title}: {self.verdict}{': ' if self.sentences else ''}{'; '.join(self.sentences[:1])}>"


class Result:
    """status: 0 conforms, 1 does not, 3 incomplete; sentence: the verdict in words; requirements: all, in order.

    localisation: where a model that failed goes wrong, as in the document, or None; diagnosis: why, likewise; cause: its
    sentence. document: result.json; summary: summary.md, Markdown. As a truth value: whether the model conforms.
    """

    def __init__(self, document: dict[str, Any], summary: str, candidate: str = "the model") -> None:
        """candidate: how the document names what was judged; texts here say "the model". Errors: CouldNotJudge."""
        self.document, self.summary = document, summary
        self.status: int
        try:
            if document["format"] != "plumbline-result" or document["version"] not in (1, 2, 3, 4):
                raise ValueError(f"it is {document['format']}, version {document['version']}, expected plumbline-result, 1 to 4")
            self.requirements = [parse_requirement(entry, candidate) for entry in document["requirements"]]
            self.status = document["footer"]["status"]
            self.sentence = clean(document["footer"]["verdict"], candidate)
            self.localisation, self.diagnosis = document.get("localisation"), document.get("diagnosis")
            self.conclusion = clean(self.localisation["conclusion"], candidate) if self.localisation else None
            self.cause = clean(self.diagnosis["conclusion"], candidate) if self.diagnosis else None
            require_agreement(document["footer"], self.requirements)
        except (KeyError, TypeError, ValueError) as error:
            raise CouldNotJudge(f"the result document is unusable: {type(error).__name__}: {error}") from error

    def with_verdict(self, verdict: str) -> list[Requirement]:
        return [requirement for requirement in self.requirements if requirement.verdict == verdict]

    conforms = property(lambda self: self.status == 0)
    failures = property(lambda self: self.with_verdict("fail"))
    errors = property(lambda self: self.with_verdict("error"))
    not_assessed = property(lambda self: self.with_verdict("not assessed"))
    not_applicable = property(lambda self: self.with_verdict("not applicable"))
    passed = property(lambda self: self.with_verdict("pass"))

    def require(self) -> Result:
        """Returns itself. Errors: AssertionError with every failure in words, unless the model conforms."""
        __tracebackhide__ = True  # pytest then shows the line that asked
        if not self.conforms:
            raise AssertionError(str(self))
        return self

    def __bool__(self) -> bool:
        return self.conforms

    def __repr__(self) -> str:
        # Pytest cuts long ones in their middle.
        named = [f"{name}: {', '.join(each.id for each in found)}" for name, found in
                 (("failed", self.failures), ("in error", self.errors)) if found]
        return f"<plumbline.Result: {'; '.join([self.sentence, *named])}>"

    def __str__(self) -> str:
        lines = [self.sentence]
        for name, entries in self.sections():
            lines.append(f"{name}:")
            for title, sentences in entries:
                lines += [f"  {title}", *(f"    {sentence}" for sentence in sentences)]
        return "\n".join([*lines, self.counts()])

    def _repr_html_(self) -> str:
        """For notebooks. All text is escaped, since some comes from the model."""
        parts = [f"<p><strong>{SIGNS.get(self.status, '!')} {html.escape(self.sentence)}</strong></p>"]
        for name, entries in self.sections():
            items = [f"<li>{'<br>'.join(map(html.escape, [title, *sentences]))}</li>" for title, sentences in entries]
            parts.append(f"<p>{name}</p><ul>{''.join(items)}</ul>")
        return f"<div>{''.join(parts)}<p>{self.counts()}</p></div>"

    def counts(self) -> str:
        found = Counter(requirement.verdict for requirement in self.requirements)
        words = {"pass": "passed", "fail": "failed", "error": "in error"}
        return ", ".join(f"{found[verdict]} {words.get(verdict, verdict)}" for verdict in VERDICTS if found[verdict])

    def sections(self) -> list[Section]:
        """[(name, [(title, sentences)])] of applicable requirements that did not pass."""
        reasons: dict[str, list[str]] = {}
        for requirement in self.not_assessed:
            reasons.setdefault(requirement.reason, []).append(requirement.id)
        missing: list[Titled] = [(f"{reason}: {', '.join(ids)}", []) for reason, ids in reasons.items()]
        where: list[Titled] = [(self.conclusion, [])] if self.conclusion else []
        found = (("Where it goes wrong", where), ("Failed", describe_failures(self.failures)), ("Errors", describe_failures(self.errors)),
                 ("Not assessed", missing))
        return [(name, entries) for name, entries in found if entries]


def describe_failures(requirements: list[Requirement]) -> list[Titled]:
    entries = []
    for requirement in requirements[:MOST_REQUIREMENTS]:
        sentences = requirement.sentences
        more = [f"… and {len(sentences) - MOST_SENTENCES} more"] if len(sentences) > MOST_SENTENCES else []
        entries.append((requirement.title, sentences[:MOST_SENTENCES] + more))
    left = [requirement.id for requirement in requirements[MOST_REQUIREMENTS:]]
    return entries + ([(f"… and {len(left)} more: {', '.join(left)}", [])] if left else [])


def parse_requirement(entry: dict[str, Any], candidate: str) -> Requirement:
    checks = [Check(**cleaned_fields(Check, check, candidate)) for check in entry["checks"]]
    return Requirement(**{**cleaned_fields(Requirement, entry, candidate), "checks": checks})


def cleaned_fields(kind: type, entry: dict[str, Any], candidate: str) -> dict[str, Any]:
    return {field.name: clean(entry[field.name], candidate) for field in fields(kind)}


def clean(value: Any, candidate: str) -> Any:
    """Makes text safe to print in one line, with "the model" for the candidate's name on the command line."""
    if not isinstance(value, str):
        return value
    value = "".join(character if character.isprintable() else "?" for character in value.replace(candidate, "the model"))
    return value if len(value) <= LONGEST_SENTENCE else value[:LONGEST_SENTENCE] + "…"


def require_agreement(footer: dict[str, Any], requirements: list[Requirement]) -> None:
    """Checks that the footer agrees with the requirements. Errors: ValueError."""
    counts = Counter(requirement.verdict for requirement in requirements)
    for verdict, key in VERDICTS.items():
        if footer[key] != counts[verdict]:
            raise ValueError(f"its footer has {key} {footer[key]}, and there are {counts[verdict]}")
    if sum(counts[verdict] for verdict in VERDICTS) != len(requirements):
        raise ValueError("it has a verdict that does not exist")
    musts = Counter(requirement.verdict for requirement in requirements if requirement.level == "must")
    if footer.get("waived", 0) == musts["fail"]:  # somebody answers for each: they do not decide
        del musts["fail"]
    if footer["status"] == 0 and not {"pass"} <= set(musts) <= {"pass", "not applicable"}:
        raise ValueError("its status is 0, and not every applicable must has passed")


def read(directory: str, candidate: str, status: int) -> Result:
    """The Result that a run with this exit status left in a directory. Errors: CouldNotJudge, also where it is another run's."""
    try:
        with open(os.path.join(directory, "result.json"), encoding="utf-8") as file:
            document = json.load(file)
        with open(os.path.join(directory, "summary.md"), encoding="utf-8") as file:
            summary = file.read()
        named = document["header"]["candidate"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        what = f"{type(error).__name__}: {error}"
        raise CouldNotJudge(f"plumbline ended with status {status} and left no result: {what}") from error
    if named != candidate:
        raise CouldNotJudge(f"plumbline ended with status {status}, and {directory}/result.json is another run's")
    result = Result(document, summary, candidate)
    if result.status != status:
        raise CouldNotJudge(f"plumbline ended with status {status}, and its result document says {result.status}")
    return result
