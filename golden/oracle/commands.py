"""python golden/oracle check | record | accept | make

check    every golden file is listed, has its recorded SHA-256, and says what the formulas say; golden samples do, too
record   writes what the formulas say now as FILE.new, and prints what changed
accept   puts the .new files in place of the old ones
make     writes golden tensors for a specification of your own into a folder of your own

Exit status: 0 fine; 1 values differ; 2 the files, the fixtures or the command cannot be used; 130 interrupted.
"""

import argparse
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from . import compare, files, probes, sampling, specification, weights
from .errors import Different, InputError
from .philox import matches_known_answers
from .probes import Probe
from .regenerate import Golden, regenerate

PROJECT = Path(__file__).resolve().parents[2]
NEW = ".new"


@dataclass
class Place:
    golden: Path
    fixtures: Path
    chosen: list[str] | None  # specification names, or all

    @property
    def manifest(self) -> Path:
        return self.golden / files.MANIFEST

    @property
    def samples(self) -> Path:
        return self.golden / sampling.FILE

    def asked(self) -> dict[str, list[Probe]]:
        """The probes of the chosen specifications."""
        path = self.fixtures / "probes.json"
        known = probes.load(path)
        for name in self.chosen or []:
            if name not in known:
                raise InputError(f"--specification {name}: {path} has no probe for it; expected one of "
                                 f"{', '.join(known)}")
        return {name: known[name] for name in self.chosen or known}

    def load(self, name: str) -> specification.Specification:
        return specification.load(self.fixtures / "specifications" / f"{name}.json")

    def regenerate(self, name: str, asked: list[Probe]) -> Golden:
        spec = self.load(name)
        gradients = probes.load_gradients(self.fixtures / "probes.json").get(name)
        longest = max(probe.length for probe in [*asked, *([gradients] if gradients else [])])
        if longest > spec.max_positions:
            raise InputError(f"{self.fixtures / 'probes.json'}: {name}: a probe of {longest} tokens; expected at most "
                             f"the specification's {spec.max_positions} positions; shorten it")
        return regenerate(spec, weights.generate_all(spec), asked, gradients)


def begin(text: str) -> float:
    print(f"  {text:24}", end="", flush=True)
    return time.monotonic()


def end(text: str, start: float) -> None:
    print(f"{text} ({time.monotonic() - start:.1f} s)", flush=True)


def check(place: Place) -> int:
    asked = place.asked()
    listed = {item["file"]: item for item in files.read_manifest(place.manifest)}
    problems: list[Exception] = []
    work = [(f"{name}.h5", lambda name=name: check_file(place, name, asked[name], listed.get(f"{name}.h5"))) for name in asked]
    if sampling.SPECIFICATION in asked:
        work.append((sampling.FILE, lambda: sampling.check(place.samples, place.load(sampling.SPECIFICATION))))
    for file, look in work:
        start = begin(file)
        try:
            end(look(), start)
        except (InputError, Different) as problem:
            end("DIFFERS" if isinstance(problem, Different) else "CANNOT BE USED", start)
            problems.append(problem)
    problems += strays(place, listed)
    for problem in problems:
        print(problem, file=sys.stderr)
    if not problems:
        print(f"golden: {', '.join(file for file, _ in work)}: as the formulas say")
    return 1 if any(isinstance(p, Different) for p in problems) else 2 if problems else 0


def check_file(place: Place, name: str, asked: list[Probe], item: dict | None) -> str:
    """What was found, in words; raises InputError or Different."""
    path = place.golden / f"{name}.h5"
    if item is None:
        raise InputError(f"{path}: {place.fixtures / 'probes.json'} has probes for {name}, but {files.MANIFEST} does "
                         "not list the file; restore the manifest, or record and accept the file")
    data = files.read_listed(path, item)  # nothing opens the file before its hash agreed
    current = place.load(name).sha256
    if item["specification_sha256"] != current:
        raise InputError(f"{place.fixtures / 'specifications' / name}.json: its SHA-256 is {current}, but {path} was "
                         f"recorded for {item['specification_sha256']}; restore the specification, or record and accept "
                         "the file anew")
    recorded, attributes = files.decode(data, path)
    golden = place.regenerate(name, asked)
    compare.demand_same_objects(str(path), recorded, attributes, golden.tensors, files.attributes(golden))
    worst = compare.demand_same_values(str(path), recorded, golden.tensors)
    sentences = compare.float32_differences(item["float32_error"], golden.float32_error)
    if sentences:
        raise Different("\n".join(f"{place.manifest}: {path.name}: float32_error: {sentence}"
                                  for sentence in compare.shortened(sentences)))
    same = "the same bytes" if files.encode(golden) == data else "not the same bytes, as on another machine"
    return f"{len(recorded)} tensors agree, largest relative difference {worst:.1e}; {same}"


def strays(place: Place, listed: dict[str, dict]) -> list[InputError]:
    """Files that nobody vouches for, and listed ones that no probe asks for."""
    found = [InputError(f"{path}: {files.MANIFEST} does not list it; expected only listed .h5 files; remove it, or "
                        "record and accept it")
             for path in sorted(place.golden.glob("*.h5")) if path.name not in listed]
    wanted = probes.load(place.fixtures / "probes.json")
    found += [InputError(f"{place.manifest}: {file}: expected a specification with probes in "
                         f"{place.fixtures / 'probes.json'}, and {item['specification']} has none; record and accept")
              for file, item in listed.items() if item["specification"] not in wanted]
    return found


def refuse_in_ci(command: str) -> None:
    if os.environ.get("CI"):
        raise InputError(f"golden {command}: the environment variable CI is set; expected a person to review changes, "
                         "so nothing was written; run it on your own machine and commit the result")


def record(place: Place) -> int:
    refuse_in_ci("record")
    asked = place.asked()
    everything = probes.load(place.fixtures / "probes.json")
    listed = {item["file"]: item for item in files.read_manifest(place.manifest)} if place.manifest.exists() else {}
    entries, new_files, table = {}, {}, []
    for name in everything:
        file = f"{name}.h5"
        if name not in asked:
            if file in listed:
                entries[file] = listed[file]
            continue
        start = begin(file)
        item, data, rows, remark = record_file(place, name, asked[name], listed.get(file))
        end(remark, start)
        entries[file] = item
        if data is not None:
            new_files[place.golden / (file + NEW)] = data
        table += [(file, *row) for row in rows]
    table += [(file, "the whole file", "removed") for file in listed if file not in entries]
    if sampling.SPECIFICATION in asked:
        start = begin(sampling.FILE)
        try:
            end("no change: " + sampling.check(place.samples, place.load(sampling.SPECIFICATION)), start)
        except (InputError, Different) as problem:
            end("changed", start)
            data = sampling.encode(sampling.regenerate(place.load(sampling.SPECIFICATION)))
            new_files[place.samples.with_name(sampling.FILE + NEW)] = data
            table.append((sampling.FILE, "the whole file", f"recorded anew: {problem}"))
    if any(file != sampling.FILE for file, *_ in table):
        new_files[place.golden / (files.MANIFEST + NEW)] = files.manifest_bytes(list(entries.values()))
    replace_pending(place, new_files)
    print_table(table)
    return 0


def record_file(place: Place, name: str, asked: list[Probe], item: dict | None):
    """The manifest's entry, the new bytes or None where the old file stays, the table's rows, and a remark."""
    path = place.golden / f"{name}.h5"
    golden = place.regenerate(name, asked)
    data = files.encode(golden)
    fresh = files.entry(golden, data)
    if item is None:
        return fresh, data, [("the whole file", f"new, {len(golden.tensors)} tensors")], f"new, {len(data)} bytes"
    try:
        recorded, attributes = files.decode(files.read_listed(path, item), path)
    except InputError as problem:
        return fresh, data, [("the whole file", f"recorded anew: {problem}")], "the old file cannot be used"
    rows = compare.changes(recorded, attributes, golden, files.attributes(golden))
    rows += [("float32_error", sentence)
             for sentence in compare.float32_differences(item["float32_error"], golden.float32_error)]
    if item["specification_sha256"] != golden.specification.sha256 and not rows:
        rows.append(("specification_sha256", f"{item['specification_sha256']} -> {golden.specification.sha256}"))
    if not rows:
        return item, None, [], "no change"
    try:
        compare.demand_same_objects(str(path), recorded, attributes, golden.tensors, files.attributes(golden))
        worst = compare.demand_same_values(str(path), recorded, golden.tensors)
        if item["specification_sha256"] == golden.specification.sha256 and not compare.float32_differences(
                item["float32_error"], golden.float32_error):
            return item, None, [], f"no change but this machine's rounding ({worst:.1e}); the old file stays"
    except (InputError, Different):
        pass
    return fresh, data, rows, f"{len(rows)} changes"


def replace_pending(place: Place, new_files: dict[Path, bytes]) -> None:
    """Earlier .new files go; these come, the manifest last; on any trouble none is left."""
    for path in pending(place):
        if path not in new_files:
            print(f"  {path.name} of an earlier record is dropped")
        path.unlink()
    try:
        for path, data in new_files.items():
            files.write_atomically(path, data)
    except BaseException:
        for path in new_files:
            path.unlink(missing_ok=True)
        raise


def pending(place: Place) -> list[Path]:
    return sorted([*place.golden.glob("*.h5" + NEW),
                   *(place.golden / (file + NEW) for file in (files.MANIFEST, sampling.FILE) if (place.golden / (file + NEW)).exists())])


def print_table(table: list[tuple[str, str, str]]) -> None:
    if not table:
        print("no change")
        return
    header = ("file", "tensor", "largest change relative to its largest value")
    widths = [max(len(row[column]) for row in [header, *table]) for column in range(2)]
    for row in (header, *table):
        print(f"  {row[0]:{widths[0]}}  {row[1]:{widths[1]}}  {row[2]}")
    print("review this; then `./plumbline golden accept` takes it, or delete the .new files")


def accept(place: Place) -> int:
    refuse_in_ci("accept")
    new_manifest = place.golden / (files.MANIFEST + NEW)
    waiting = pending(place)
    if not waiting:
        raise InputError(f"{place.golden}: expected .new files to accept, found none; run `./plumbline golden record` "
                         "first")
    new_files = {}
    samples = place.samples.with_name(sampling.FILE + NEW)
    if samples in waiting:
        sampling.read(samples)
        new_files[place.samples] = samples.read_bytes()
    before = files.read_manifest(place.manifest) if place.manifest.exists() else []
    entries = before
    if new_manifest in waiting:
        entries = files.read_manifest(new_manifest)
    elif waiting != [samples]:
        raise InputError(f"{new_manifest}: expected beside {waiting[0].name}, found none; run `./plumbline golden "
                         "record` again")
    for item in entries if new_manifest in waiting else []:  # all is verified before anything is replaced
        path = place.golden / item["file"]
        source = path.with_name(path.name + NEW)
        data = files.read_listed(source if source in waiting else path, item)
        if source in waiting:
            new_files[path] = data
    for path in waiting:
        if path not in (new_manifest, samples) and path.with_name(path.name.removesuffix(NEW)) not in new_files:
            raise InputError(f"{path}: {new_manifest.name} does not list it; expected only listed files; run "
                             "`./plumbline golden record` again")
    if new_manifest in waiting:  # last: until then an interrupted accept can be repeated
        new_files[place.manifest] = new_manifest.read_bytes()
    for path, data in new_files.items():
        files.write_atomically(path, data)
        path.with_name(path.name + NEW).unlink()
        print(f"  {path.name} accepted, {len(data)} bytes", flush=True)
    for file in {item["file"] for item in before} - {item["file"] for item in entries}:
        (place.golden / file).unlink(missing_ok=True)
        print(f"  {file} removed", flush=True)
    files.sync_directory(place.golden)
    return 0


PATTERN = "minimind2-small"  # whose probes any other specification gets


def make(file: Path, out: Path, fixtures: Path) -> int:
    """Golden tensors of a specification that is not among the fixtures; what the folder holds for others stays."""
    spec = specification.load(file)
    asked = [probe for probe in probes.load(fixtures / "probes.json")[PATTERN] if probe.length <= spec.max_positions]
    if not asked:
        raise InputError(f"{file}: max_position_embeddings: {spec.max_positions} positions are fewer than any probe has tokens")
    gradients = probes.load_gradients(fixtures / "probes.json").get(PATTERN)
    if gradients and gradients.length > spec.max_positions:
        gradients = None
    if out.exists() and not out.is_dir():
        raise InputError(f"{out}: exists already and is no directory; name another folder")
    manifest = out / files.MANIFEST
    others = [item for item in files.read_manifest(manifest) if item["specification"] != spec.name] if manifest.exists() else []
    start = begin(f"{spec.name}.h5")
    golden = regenerate(spec, weights.generate_all(spec), asked, gradients)
    data = files.encode(golden)
    out.mkdir(parents=True, exist_ok=True)
    files.write_atomically(out / f"{spec.name}.h5", data)
    files.write_atomically(manifest, files.manifest_bytes([*others, files.entry(golden, data)]))
    end(f"{len(golden.tensors)} tensors, {len(data)} bytes", start)
    print(f"golden: `./plumbline verify CANDIDATE --spec {near(file)} --golden {near(out)}` judges by them")
    return 0


def near(path: Path) -> Path:
    """As a person in the current folder would write it."""
    return Path(os.path.relpath(path)) if path.is_relative_to(Path.cwd()) else path


def arguments(words: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python golden/oracle", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    for command in (check, record, accept):
        sub = commands.add_parser(command.__name__)
        sub.set_defaults(run=command, specification=None)
        sub.add_argument("--golden", type=Path, default=near(PROJECT / "golden"), help="the folder of golden files")
        sub.add_argument("--fixtures", type=Path, default=near(PROJECT / "fixtures"), help="the folder of fixtures")
        if command is not accept:
            sub.add_argument("--specification", metavar="NAME", nargs="+", action="extend",
                             help="only these specifications")
    sub = commands.add_parser("make", help="for a specification of your own")
    sub.add_argument("--spec", type=Path, required=True, metavar="FILE", help="the specification, a .json file")
    sub.add_argument("--out", type=Path, required=True, metavar="DIR", help="the folder for the tensors and their manifest")
    sub.add_argument("--fixtures", type=Path, default=near(PROJECT / "fixtures"), help="the folder of fixtures")
    sub.set_defaults(run=None)
    return parser.parse_args(words)


def main(words: list[str]) -> int:
    options = arguments(words)
    try:
        with files.termination_as_interrupt():
            if not matches_known_answers():
                raise InputError("philox: the generator does not give its published known answers on this machine; "
                                 "report this with the versions of Python and numpy")
            if options.run is None:
                return make(options.spec, options.out, options.fixtures)
            if not options.golden.is_dir():
                raise InputError(f"{options.golden}: expected the folder of golden files; give it with --golden")
            return options.run(Place(options.golden, options.fixtures, options.specification))
    except (InputError, Different) as problem:
        print(problem, file=sys.stderr)
        return 1 if isinstance(problem, Different) else 2
    except OSError as error:
        print(f"golden {options.command}: {error.filename or 'output'}: {error.strerror}; repeat the command when that "
              "is put right", file=sys.stderr)
        return 2
    except MemoryError:
        print(f"golden {options.command}: not enough memory; expected about 2.5 GB; use --specification to take one at "
              "a time", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"\ngolden {options.command}: interrupted; nothing is half written", file=sys.stderr)
        return 130
