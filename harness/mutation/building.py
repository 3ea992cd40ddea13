"""The scratch copy of the tree, its build without optimisation, and programs with mutants in them."""

import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import resource
from pathlib import Path

import mutants as making
import schemata

COPIED = ["CMakeLists.txt", "cmake", "harness", "reports", "suites", "fixtures", "golden"]
MODEL = "harness/model/model.cpp"
# A header is compiled by a unit that uses all of it and is linked first: without inlining, its copies of inline
# functions are the ones that the whole program then calls.
UNITS = {"harness/model/philox.hpp": "harness/model/weights.cpp",
         "harness/model/formulas.hpp": "harness/model/formulas.cpp",
         "harness/model/specification.hpp": "carrier.cpp"}
CARRIER = """#include "harness/model/model.hpp"
namespace plumbline {
void* carrier() {
  auto sizes = {&Specification::head_size, &Specification::repeat_factor, &Specification::key_value_size};
  return sizes.size() == 0 ? nullptr : new Specification{};
}
}  // namespace plumbline
"""


def fingerprint(tree):
    digest = hashlib.sha256()
    for name in COPIED[1:]:
        path = tree / name
        for file in [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file()):
            relative = file.relative_to(tree)
            # Only what a verdict on the reference depends on.
            foreign = relative.parts[:2] in (("harness", "mutation"), ("harness", "python")) or ".test." in file.name or (
                relative.parts[:2] == ("harness", "candidate") and not file.name.startswith("reference"))
            if foreign or file.suffix in (".md", ".new") or "__pycache__" in relative.parts:
                continue
            digest.update(str(relative).encode() + b"\0" + hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()[:16]


def run(command, seconds, directory, environment=None, log=None):
    """Exit status (None: out of time) and output; everything that the command started ends with it."""

    def limit():
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_AS, (24 << 30, 24 << 30))

    process = subprocess.Popen(command, cwd=directory, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                               text=True, errors="replace", start_new_session=True, preexec_fn=limit)
    try:
        output, _ = process.communicate(timeout=seconds)
        return process.returncode, output
    except BaseException as reason:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        if isinstance(reason, subprocess.TimeoutExpired):
            return None, ""
        raise


class Build:
    def __init__(self, root, work, python, resume):
        self.root, self.work = root, work
        self.tree, self.base = work / "tree", work / "base"
        self.environment = {**os.environ, "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive"}  # so it need not start itself anew
        self.nice = ["nice", "-n", "19"]
        binaries = Path(python).parent
        self.cmake, self.ninja = (str(binaries / n) if (binaries / n).exists() else n for n in ("cmake", "ninja"))
        self.python = python
        if not (resume and (self.base / "plumbline").exists()):
            self.prepare()
        self.commands = json.loads((self.base / "compile_commands.json").read_text())
        listed = subprocess.run([self.ninja, "-t", "commands", "plumbline"], cwd=self.base, capture_output=True, text=True, check=True)
        self.link = listed.stdout.strip().split("\n")[-1]
        if shutil.which("ld.gold"):
            self.link = self.link.replace("/c++ ", "/c++ -fuse-ld=gold ", 1)
        self.fingerprint = fingerprint(self.tree)

    current = staticmethod(fingerprint)

    def prepare(self):
        for folder in (self.tree, self.base):
            shutil.rmtree(folder, ignore_errors=True)
        self.tree.mkdir(parents=True)
        for name in COPIED:
            source = self.root / name
            (shutil.copytree if source.is_dir() else shutil.copy2)(source, self.tree / name)
        # The documents take a third of a short verification's time when their code is not optimised.
        with (self.tree / "CMakeLists.txt").open("a") as file:
            file.write("\ntarget_compile_options(plumbline_reports PRIVATE -O1)\n")
        prefix = subprocess.run([self.python, "-c", "import os, torch; print(os.path.dirname(torch.__file__))"],
                                capture_output=True, text=True).stdout.strip() or os.environ.get("CMAKE_PREFIX_PATH", "")
        print(f"building the unmutated program in {self.base}", flush=True)
        self.must([self.cmake, "-G", "Ninja", "-S", str(self.tree), "-B", str(self.base), f"-DCMAKE_MAKE_PROGRAM={shutil.which(self.ninja)}",
                   "-DCMAKE_BUILD_TYPE=", "-DCMAKE_CXX_FLAGS=-O0", "-DPLUMBLINE_TESTS=OFF", "-DPLUMBLINE_BENCHMARKS=OFF",
                   "-DPLUMBLINE_BATCHES=OFF",
                   f"-DPLUMBLINE_PYTHON={self.python}", f"-DCMAKE_PREFIX_PATH={prefix}"])
        self.must([self.ninja, "-C", str(self.base), "-j1", "plumbline"])

    def must(self, command):
        status, output = run(self.nice + command, 3600, self.work, self.environment)
        if status != 0:
            raise SystemExit("\n".join(output.split("\n")[-30:]) + f"\nrun_mutation: the unmutated program does not build: {command[0]} ended with {status}")

    def unit_of(self, file):
        return UNITS.get(file, file)

    def compile_command(self, unit, source, output, shadow, optimise="-O0", more=()):
        entry = next(e for e in self.commands if e["file"].endswith(unit if unit != "carrier.cpp" else MODEL))
        command = entry["command"].split(" -o ")[0].replace(f"-I{self.tree}", f"-I{shadow} -I{self.tree}", 1)
        if optimise != "-O0":
            command = command.replace("-O0", optimise).replace(" -Winvalid-pch", "").split(" -include ")[0]
            command += f" -include {self.optimised_header(command)}"
        return self.nice + command.split() + ["-w", "-fmax-errors=0", *more, "-o", str(output), "-c", str(source)]

    def optimised_header(self, command):
        """The precompiled header again, optimised."""
        header = self.work / "optimised" / "precompiled.hpp"
        if not header.with_suffix(".hpp.gch").exists():
            header.parent.mkdir(exist_ok=True)
            header.write_text('#include "harness/system/precompiled.hpp"\n#include "harness/model/precompiled_libtorch.hpp"\n')
            self.must([*command.split(), "-w", "-x", "c++-header", "-o", str(header.with_suffix(".hpp.gch")), "-c", str(header)])
        return header

    def shadow(self, name, files):
        """A folder that hides files of the tree."""
        folder = self.work / name
        shutil.rmtree(folder, ignore_errors=True)
        for file, text in files.items():
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            (folder / file).write_text(text)
        return folder

    def source_of(self, folder, file):
        """Where the unit of a mutated file is: in the shadow, or in the tree when only a header is hidden."""
        unit = self.unit_of(file)
        if unit == "carrier.cpp":
            (folder / unit).write_text(CARRIER)
            return folder / unit
        return folder / unit if unit == file else self.tree / unit

    def batch(self, name, file, batch, guard=None):
        """A program with all of `batch` that compile: (program, {number: mutant}, mutants that do not compile).

        `guard`: an object file that says when the candidate runs, and with that when a mutant is one.
        """
        lines = making.without_comments((self.tree / file).read_text()).split("\n")
        numbered = {i + 1: m for i, m in enumerate(batch)}
        rejected = []
        while numbered:
            chosen = {n: (m.line - 1, m.after) for n, m in numbered.items()}
            text, owners, declarations = schemata.assemble(lines, chosen, guarded=guard is not None)
            files = {file: text}
            for owner, members in declarations.items():
                header, body = self.header_with(owner)
                files[header] = schemata.declare(body, owner, members)
            folder = self.shadow(name, files)
            source, program = self.source_of(folder, file), folder / "plumbline"
            status, output = run(self.compile_command(self.unit_of(file), source, folder / "mutant.o", folder), 1800, self.base, self.environment)
            if status == 0:
                self.link_with(f"{folder / 'mutant.o'} {guard or ''}", program)
                return program, numbered, rejected
            blamed = set()
            for match in re.finditer(rf"^{re.escape(str(folder / file))}:(\d+):\d+:\s+(?:error|required from|fatal)", output, re.M):
                blamed.add(owners[int(match[1]) - 1])
            blamed -= {0}
            if not blamed:  # parameters of a head in another order: the call that chooses the mutant is what fails
                blamed = {int(n) for n in re.findall(r"note: +initializing argument .*__(\d+)\(", output)} & set(numbered)
            if not blamed:
                raise SystemExit(f"run_mutation: {folder / file} does not compile, and no mutant is to blame:\n{output[:3000]}")
            rejected += [numbered.pop(n) for n in blamed]
        return None, {}, rejected

    def header_with(self, owner):
        for header in sorted((self.tree / "harness/model").glob("*.hpp")):
            text = header.read_text()
            if re.search(rf"^(class|struct) {owner}\b[^;]*?{{", text, re.M):
                return str(header.relative_to(self.tree)), text
        raise SystemExit(f"run_mutation: no header of harness/model declares {owner}")

    def alone(self, name, mutant):
        """A program with one mutant; None where it does not compile or link."""
        folder = self.shadow(name, {mutant.file: making.mutated_text(self.tree, mutant)})
        source = self.source_of(folder, mutant.file)
        command = self.compile_command(self.unit_of(mutant.file), source, folder / "mutant.o", folder)
        status, output = run(command, 600, self.base, self.environment)
        if status != 0:
            return None
        return self.link_with(folder / "mutant.o", folder / "plumbline", must=False)

    def link_with(self, mutated, program, must=True):
        command = self.link.replace(" -o plumbline ", f" {mutated} -o {program} ", 1).replace("/c++ ", "/c++ ", 1)
        first = command.index(" CMakeFiles/plumbline.dir")  # the mutant comes before every other object
        command = command.replace(f" {mutated} -o", " -o", 1)
        command = command[:first] + f" {mutated}" + command[first:]
        status, output = run(self.nice + ["sh", "-c", command], 600, self.base, self.environment)
        if status == 0:
            return program
        if must:
            raise SystemExit(f"run_mutation: a program with mutants does not link:\n{output[-3000:]}")
        return None

    def optimised_object(self, name, mutant, file=None):
        """The digest of the object code of a mutant (or, for None, of the original of `file`), optimised."""
        file = file or mutant.file
        text = making.mutated_text(self.tree, mutant) if mutant else making.without_comments((self.tree / file).read_text())
        folder = self.shadow(name, {file: text})
        command = self.compile_command(self.unit_of(file), self.source_of(folder, file), folder / "optimised.o", folder, "-O1")
        status, output = run(command, 600, self.base, self.environment)
        return hashlib.sha256((folder / "optimised.o").read_bytes()).hexdigest() if status == 0 else None

    def judge(self, program, number, arguments, out, seconds):
        """Runs the suites: (exit status or None for out of time, what was printed, result.json or None)."""
        shutil.rmtree(out, ignore_errors=True)
        environment = {**self.environment, "PLUMBLINE_MUTANT": str(number)}
        command = self.nice + [str(program), "verify", *arguments, "--threads", "1", "--device", "cpu", "--out", str(out)]
        status, output = run(command, seconds, self.work, environment)
        result = json.loads((out / "result.json").read_text()) if (out / "result.json").exists() else None
        shutil.rmtree(out, ignore_errors=True)
        return status, output, result

    def verify(self, program, number, arguments, out, seconds):
        """Runs the suites: (exit status or None for out of time, failed requirements with their chapters, words)."""
        status, output, result = self.judge(program, number, [*arguments, "--no-diagnosis"], out, seconds)
        failed = {r["id"]: (r["chapter"], r["verdict"]) for r in (result or {"requirements": []})["requirements"] if r["verdict"] in ("fail", "error")}
        words = "" if status in (0, 1, 3) else last_line(output)
        return status, failed, words


def last_line(output):
    return (output.strip().split("\n") or [""])[-1][:200]
