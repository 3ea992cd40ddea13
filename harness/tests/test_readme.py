"""README.md and README.zh.md say the same, and neither they nor the pages of docs/ say what the program does not know."""

import collections
import functools
import itertools
import pathlib
import re

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
ENGLISH, CHINESE = "README.md", "README.zh.md"
PAGES = sorted(f"docs/{page.name}" for page in (ROOT / "docs").glob("*.md"))
MOST_LINES = 150  # of a README: what a newcomer reads first
OF_THE_LAUNCHER = ("test", "lint", "bench", "golden")  # commands that the program itself does not have
IN_STEP = "change both files together"

Line = collections.namedtuple("Line", "number text")


def without_code(text):
    return re.sub(r"`[^`]*`", "", text)


class Readme:
    """What one of them consists of; everything with the number of its line."""

    def __init__(self, name):
        self.name = name
        self.headings, self.blocks, self.tables, self.items, self.prose = [], [], [], [], []
        block, in_table = None, False
        for number, text in enumerate((ROOT / name).read_text(encoding="utf-8").splitlines(), 1):
            if text.startswith("```"):
                if block is None:
                    block = [Line(number, text)]
                else:
                    self.blocks.append(block)
                    block = None
                in_table = False
                continue
            if block is not None:
                block.append(Line(number, text))
                continue
            self.prose.append(Line(number, text))
            if re.match(r"#+ ", text):
                self.headings.append(Line(number, text))
            if re.match(r"(\d+\.|-) ", text):
                self.items.append(Line(number, text))
            if text.startswith("|"):
                if not in_table:
                    self.tables.append([])
                self.tables[-1].append(Line(number, text))
            in_table = text.startswith("|")
        assert block is None, f"{name}:{block[0].number}: this code block does not end"

    def found(self, pattern, of=str):
        """{match: line of the first} of a pattern with one group, in what `of` leaves of each line outside of code blocks."""
        places = {}
        for line in self.prose:
            for one in re.findall(pattern, of(line.text)):
                places.setdefault(one, line.number)
        return places

    def slugs(self):
        """What a link within the file calls each heading."""
        return [re.sub(r"[^\w\- ]", "", re.sub(r"^#+ ", "", h.text).lower()).replace(" ", "-") for h in self.headings]

    def links(self):
        """[(line, target)]: a link within the file as the heading that it leads to, counted from 0, where there is one."""
        slugs = self.slugs()
        for line in self.prose:
            for target in re.findall(r"\]\(([^)\s]+)\)", without_code(line.text)):
                if target.startswith("#") and target[1:] in slugs:
                    target = slugs.index(target[1:])
                yield line.number, target


def commands(readme):
    """[(line, words)] of each `./plumbline ...` in a code block, with what is said of it beside it."""
    for block in readme.blocks:
        for line in block[1:]:
            for call in line.text.split("./plumbline ")[1:]:
                yield line.number, call.split()


class Help:
    """What the program says of a command and its options."""

    def __init__(self, program, command):
        done = program(*command, "--help")
        assert done.returncode == 0, f"plumbline {' '.join(command)} --help: exit status {done.returncode}: {done.stdout}{done.stderr}"
        parts = re.split(r"^(\w[\w ]*):\n", done.stdout, flags=re.M)
        sections = dict(zip(parts[1::2], parts[2::2]))
        self.options = set(re.findall(r"(?<![\w-])-{1,2}[a-z][\w-]*", " ".join(re.findall(r"^  (-\S+)", sections.get("Options", ""), re.M))))
        self.subcommands = re.findall(r"^  (\w\S*)", sections.get("Subcommands", ""), re.M)


@pytest.fixture(scope="module")
def english():
    return Readme(ENGLISH)


@pytest.fixture(scope="module")
def chinese():
    return Readme(CHINESE)


@pytest.fixture(scope="module")
def pages():
    return [Readme(page) for page in PAGES]


def pairs(what, of_english, of_chinese):
    """Each of the one with its counterpart; a line of the one that the other lacks is told."""
    for one, other in itertools.zip_longest(of_english, of_chinese):
        if one is None or other is None:
            name, there = (ENGLISH, other) if one is None else (CHINESE, one)
            while not isinstance(there.text, str):  # of a block or a table, its first line
                there = there.text[0]
            pytest.fail(f"{name} has {what} too few: its counterpart goes on in line {there.number} with {there.text!r}: {IN_STEP}")
        yield one, other


def test_headings_stand_in_the_same_order_at_the_same_level(english, chinese):
    for one, other in pairs("a heading", english.headings, chinese.headings):
        assert one.text.split()[0] == other.text.split()[0], (
            f"{ENGLISH}:{one.number} {one.text!r} and {CHINESE}:{other.number} {other.text!r} are of different levels: {IN_STEP}")


def test_code_blocks_are_the_same(english, chinese):
    for one, other in pairs("a code block", *([Line(b[0].number, b) for b in r.blocks] for r in (english, chinese))):
        for line, counterpart in pairs("a line of code", one.text, other.text):
            assert line.text == counterpart.text, (
                f"line {line.number} of {ENGLISH} and {counterpart.number} of {CHINESE} are code and differ: {IN_STEP}")


def test_tables_and_lists_have_the_same_rows(english, chinese):
    for one, other in pairs("a table", *([Line(t[0].number, t) for t in r.tables] for r in (english, chinese))):
        for row, counterpart in pairs("a row of a table", one.text, other.text):
            assert row.text.count("|") == counterpart.text.count("|"), (
                f"{ENGLISH}:{row.number} and {CHINESE}:{counterpart.number} have different numbers of columns: {IN_STEP}")
    for _ in pairs("an item of a list", english.items, chinese.items):
        pass


def test_links_lead_to_the_same_places(english, chinese):
    counts = [collections.Counter(target for _, target in readme.links()) for readme in (english, chinese)]
    counts[0][ENGLISH] += counts[0].pop(CHINESE, 0)  # each leads to the other
    lacking = {name: there - here for name, here, there in ((ENGLISH, counts[0], counts[1]), (CHINESE, counts[1], counts[0]))}
    for name, targets in lacking.items():
        told = [f"to heading {one + 1}" if isinstance(one, int) else one for one in targets]
        assert told == [], f"{name} lacks links that its counterpart has, {', '.join(told)}: {IN_STEP}"
    for readme, other in ((english, CHINESE), (chinese, ENGLISH)):
        assert other in [target for line, target in readme.links() if line <= 5], f"{readme.name} does not lead to {other} in its first lines"


def test_names_and_figures_are_the_same(english, chinese):
    for what, pattern, of in (("", r"(`[^`]+`)", str), ("the figure ", r"(?<![A-Za-z\d.,_-])(\d[\d,.]*\d)(?![A-Za-z\d_-])", without_code)):
        one, other = (readme.found(pattern, of) for readme in (english, chinese))
        for name, here, there, its in ((CHINESE, other, one, ENGLISH), (ENGLISH, one, other, CHINESE)):
            for thing in there:
                assert thing in here, f"{name} does not mention {what}{thing}, which stands in line {there[thing]} of {its}: {IN_STEP}"


def test_a_readme_is_short_and_leads_to_every_page(english, chinese):
    for readme in (english, chinese):
        lines = (ROOT / readme.name).read_text(encoding="utf-8").count("\n")
        assert lines <= MOST_LINES, f"{readme.name} has {lines} lines: tell it in a page of docs/"
        led_to = {target for _, target in readme.links()}
        for page in PAGES:
            assert page in led_to, f"{readme.name} does not lead to {page}"


def test_what_is_linked_to_exists(english, chinese, pages):
    for page in (english, chinese, *pages):
        for line, target in page.links():
            if isinstance(target, int) or re.match(r"https?:", target):
                continue
            assert not target.startswith("#"), f"{page.name}:{line} leads to {target}, and no heading is called that"
            path, _, heading = target.partition("#")
            there = (ROOT / page.name).parent / path
            assert there.exists(), f"{page.name}:{line} leads to {target}, which does not exist"
            if heading:
                assert heading in Readme(there.resolve().relative_to(ROOT)).slugs(), (
                    f"{page.name}:{line} leads to {target}, and no heading there is called that")


def test_the_program_knows_every_command_and_option(program, english, pages):
    help_of = functools.cache(lambda *command: Help(program, command))
    looked_at = 0
    for place, line, words in ((page.name, *call) for page in (english, *pages) for call in commands(page)):
        command = [words[0]]
        if command[0] in OF_THE_LAUNCHER:
            continue
        assert command[0] in help_of().subcommands, f"{place}:{line} calls ./plumbline {command[0]}, which is no command of the program"
        known = help_of(*command)
        choices = [command]
        if known.subcommands:  # `adapter init|check`
            choices = [[*command, one] for one in words[1].split("|")]
        for full in choices:
            if len(full) > 1:
                assert full[1] in known.subcommands, f"{place}:{line} calls ./plumbline {' '.join(full)}, which is no command of the program"
            of_this = help_of(*full)
            for option in re.findall(r"(?<![\w-])--?[a-z][\w-]*", " ".join(words[1:])):
                looked_at += 1
                assert option in of_this.options, f"{place}:{line}: ./plumbline {' '.join(full)} knows no {option}, by its --help"
    assert looked_at > 10, "hardly any option was found in the code blocks: are they still read rightly?"
