"""The command line: usage, exit statuses, and what a user meets when something is wrong."""

import functools
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import xml.etree.ElementTree
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out"


@pytest.fixture
def run(program, tmp_path):
    return functools.partial(program, cwd=tmp_path)


@pytest.fixture
def refused(run, tmp_path):
    """Status 2, one line that says these words, nothing written."""
    def check(*arguments, words=()):
        done = run(*arguments)
        assert done.returncode == 2, done.stdout + done.stderr
        assert len(done.stderr.strip().splitlines()) == 1, done.stderr
        assert "internal error" not in done.stderr
        for word in words:
            assert word in done.stderr
        assert os.listdir(tmp_path) == [], "something was written"
    return check


@pytest.mark.parametrize(("line", "words"), [
    ("", ["plumbline --help"]),
    ("judge", ["judge"]),
    ("verify --dtype f8", ["f8", "bf16"]),
    ("verify --threads -1", ["threads"]),
    ("verify --only x", ["only"]),
    ("verify --only 99 --spec tiny", ["99"]),
    ("verify --device tpu", ["tpu", "cuda"]),
    ("verify --spec gpt", ["gpt", "minimind2-small"]),
    ("verify defect:none", ["none", "mask-none"]),
    ("verify defect:teleport", ["teleport", "defects.json"]),
    ("verify no/such/place", ["no/such/place", "checkpoint"]),
    ("verify reference another", ["another"]),
    ("verify --out /dev/null/out", ["/dev/null exists already and is no directory"]),
    ("export", ["directory"]),
    ("export new --spec minimind-v1-small", ["pairs"]),
])
def test_usage_errors_are_one_line_and_status_2(refused, line, words):
    refused(*line.split(), words=words)


def test_a_specification_of_ones_own_has_golden_tensors_of_its_own(run, tmp_path, out):
    tiny = json.loads((ROOT / "fixtures" / "specifications" / "tiny.json").read_text())
    biases = 5 * (2 * 128 + 48 + 2 * 48 + 2 * 16)
    mine, golden = tmp_path / "mine.json", tmp_path / "golden"
    mine.write_text(json.dumps({**tiny, "name": "mine", "attention_bias": True, "mlp_bias": True, "parameter_count": 128256 + biases}))
    made = subprocess.run([sys.executable, ROOT / "golden" / "oracle", "make", "--spec", mine, "--out", golden],
                          capture_output=True, text=True, timeout=120)
    assert made.returncode == 0, made.stderr
    assert sorted(os.listdir(golden)) == ["manifest.json", "mine.h5"]
    done = run("verify", "--spec", mine, "--golden", golden, "--out", out)
    assert done.returncode == 0, done.stdout + done.stderr
    result = json.loads((out / "result.json").read_text())
    verdicts = {requirement["id"]: requirement["verdict"] for requirement in result["requirements"]}
    assert [verdicts[name] for name in ("NUM-1", "NUM-2", "NUM-3")] == ["pass"] * 3
    done = run("verify", "defect:repeat-tiled", "--spec", mine, "--golden", golden, "--out", out, "--only", "8")
    assert done.returncode == 1
    assert "NUM-1" in done.stdout
    for specification, folder, words in (("tiny", golden, "lists no tensors for 'tiny'"), (mine, tmp_path / "nowhere", "manifest.json")):
        done = run("verify", "--spec", specification, "--golden", folder, "--out", out)
        assert done.returncode == 2
        assert words in done.stderr
    with (golden / "mine.h5").open("r+b") as file:
        file.seek(2000)
        file.write(b"other")
    done = run("verify", "--spec", mine, "--golden", golden, "--out", out)
    assert done.returncode == 2
    assert "its SHA-256 is" in done.stderr


def test_what_was_typed_does_not_steer_the_terminal(run):
    for words in (("verify", "--dtype", "\x1b[31mf8"), ("verify", "--device", "\x1b[31mtpu"), ("verify", "--spec", "\x1b[31m"),
                  ("text", "x", "--unit", "\x1b[31m"), ("verify", "reference", "\x1b[31m"), ("\x1b[31m",), ("verify", "\x1b[31m.py")):
        done = run(*words)
        assert done.returncode == 2
        assert "\x1b" not in done.stderr, words


def test_help_explains_every_option_and_the_statuses(run):
    for command in ([], ["verify"], ["export"]):
        done = run(*command, "--help")
        assert done.returncode == 0
        assert done.stdout != ""
    text = run("verify", "--help").stdout
    for word in ("--spec", "--device", "--dtype", "--threads", "--only", "--out", "0 conforms", "1 does not", "2 could not", "3 incomplete"):
        assert word in text


def test_the_catalogue_of_defects(run, refused):
    catalogue = json.loads((ROOT / "fixtures" / "defects.json").read_text())
    listed = run("defects")
    assert (listed.returncode, listed.stderr) == (0, "")
    for defect in catalogue:
        assert re.search(rf"(?m)^  {re.escape(defect['name'])} +{defect['severity']} +{re.escape(defect['departure'])}$", listed.stdout)
    assert f"{len(catalogue)} defects" in listed.stdout
    told = run("defects", "mask-inverted").stdout
    one = next(defect for defect in catalogue if defect["name"] == "mask-inverted")
    for text in (one["arises"], one["looks_like"], ", ".join(one["seen_by"]), one["stage"]):
        assert text in told
    for specification, words in (("minimind2-small", "23 instead of 8"), ("tiny", "20 instead of 5")):
        assert words in run("defects", "layers-23", "--spec", specification).stdout
    assert "23 instead of 8" in run("defects", "layers-23").stdout
    refused("defects", "layers-23", "--spec", "nowhere", words=["nowhere", "minimind2-small"])
    refused("defects", "teleport\x1b[31m", words=["teleport", "plumbline defects"])


def test_every_requirement_is_traced_to_tests_and_defects_and_back(run, refused):
    requirements = json.loads((ROOT / "fixtures" / "requirements.json").read_text())["requirements"]
    catalogue = json.loads((ROOT / "fixtures" / "defects.json").read_text())
    listed = run("requirements")
    assert (listed.returncode, listed.stderr) == (0, ""), listed.stdout[-600:]
    for one in requirements:
        assert re.search(rf"(?m)^  {one['id']} +{one['level']} +[1-9]\d* tests? +\d+ defects? +{re.escape(one['statement'])}$", listed.stdout)
    assert f"{len(requirements)} requirements, " in listed.stdout
    assert f"{len(catalogue)} defects; " in listed.stdout
    told = run("requirements", "KVC-3").stdout
    one = next(one for one in requirements if one["id"] == "KVC-3")
    for text in (one["statement"], one["source"], *(defect["name"] for defect in catalogue if "KVC-3" in defect["seen_by"])):
        assert text in told
    file, line = re.search(r"(suites/\w+\.cpp):(\d+)", told).groups()
    assert "REQUIREMENT(\"KVC-3\"" in (ROOT / file).read_text().splitlines()[int(line) - 1]
    assert "no defect: it is about the document's claims" in run("requirements", "CLAIM-a").stdout
    refused("requirements", "KVC-99\x1b[31m", words=["KVC-99", "plumbline requirements"])


def test_what_is_not_traced_is_named_and_status_1(program, tmp_path):
    for folder in ("bin", "share/plumbline"):
        (tmp_path / folder).mkdir(parents=True)
    copy = program.copied_to(tmp_path / "bin")
    fixtures = tmp_path / "share" / "plumbline" / "fixtures"

    def complaints(change):
        shutil.rmtree(fixtures, ignore_errors=True)
        shutil.copytree(ROOT / "fixtures", fixtures)
        documents = {name: json.loads((fixtures / f"{name}.json").read_text()) for name in ("requirements", "defects", "campaign")}
        change(documents)
        for name, document in documents.items():
            (fixtures / f"{name}.json").write_text(json.dumps(document))
        done = subprocess.run([copy, "requirements"], capture_output=True, text=True, timeout=60)
        said = [line for line in done.stdout.splitlines() if line.startswith("! ")]
        assert done.returncode == (1 if said else 0), done.stdout[-600:] + done.stderr
        return said

    def without_test(documents):
        documents["requirements"]["requirements"].insert(1, dict(documents["requirements"]["requirements"][0], id="CFG-77"))

    def without_requirement(documents):
        entries = documents["requirements"]["requirements"]
        entries.remove(next(one for one in entries if one["id"] == "CLAIM-a"))

    def without_defect(documents):
        for defect in documents["defects"]:
            defect["seen_by"] = [id for id in defect["seen_by"] if id != "ROPE-8"] or ["CFG-1"]

    def without_reason(documents):
        documents["campaign"]["not_failed_by_defects"] = documents["campaign"]["not_failed_by_defects"][1:]

    def with_a_reason_that_is_none(documents):
        documents["campaign"]["not_failed_by_defects"].append({"name": "CFG-1", "reason": "it is hard"})

    def of_nothing(documents):
        documents["defects"][0]["seen_by"].append("CFG-99")

    assert complaints(lambda documents: None) == []
    assert complaints(without_test) == ["! CFG-77 has no test: nothing looks at it",
                                        "! CFG-77 is failed by no known defect: nobody has seen its test fail"]
    assert re.search(r"the test at suites/claims.cpp:\d+ belongs to no requirement", "\n".join(complaints(without_requirement)))
    assert complaints(without_defect) == ["! ROPE-8 is failed by no known defect: nobody has seen its test fail"]
    assert complaints(without_reason) == ["! CFG-16 is failed by no known defect: nobody has seen its test fail"]
    assert re.search(r"^! CFG-1 is failed by \S+, and fixtures/campaign.json says that nothing does$", complaints(with_a_reason_that_is_none)[0])
    assert re.search(r"fixtures/defects.json says that \S+ fails CFG-99, which is no requirement", complaints(of_nothing)[0])


def test_nothing_that_a_stranger_s_repository_configures_is_run(run, tmp_path, out):
    model, ran = tmp_path / "model", tmp_path / "ran"
    assert run("export", model, "--spec", "tiny").returncode == 0
    (model / ".gitattributes").write_text("* filter=theirs\n")

    def git(*arguments):
        subprocess.run(["git", "-C", model, "-c", "user.name=a", "-c", "user.email=a@b", *arguments], check=True, capture_output=True)

    def commit():
        os.utime(model / ".gitattributes", (1, 1))
        run("verify", model, "--spec", "tiny", "--out", out)
        return json.loads((out / "result.json").read_text())["header"].get("commit")

    git("init", "-q")
    git("add", "-A")
    git("commit", "-qm", "x")
    assert commit()["clean"]
    for key in ("clean", "process", "smudge"):
        git("config", f"filter.theirs.{key}", f"touch {ran}; cat")
    assert commit() is None
    assert not ran.exists(), "a filter was run"


def test_a_document_that_is_nested_deeply_or_has_many_keys_is_refused(run, tmp_path, out):
    document = tmp_path / "d.json"
    for text, words in (('{"format":' + "[" * 100000 + "]" * 100000 + "}", "nested deeper"),
                        ('{"format":"plumbline-result",' + ",".join(f'"k{i}":0' for i in range(200000)) + "}", "d.json")):
        document.write_text(text)
        for arguments in (["render", document, "--out", out], ["merge", document, document, "--out", out], ["diff", document, document]):
            done = run("report", *arguments)
            assert done.returncode == 2, f"{arguments}: {done.stderr[-300:]}"
            assert words in done.stderr


def test_the_launcher_passes_on_every_command(run, tmp_path):
    listed = re.split(r"(?im)^subcommands:", run("--help").stdout)[-1]
    commands = re.findall(r"(?m)^  (\w+)", listed)
    assert "record" in commands
    for command in commands:
        done = subprocess.run([ROOT / "plumbline", command, "--help"], capture_output=True, text=True, timeout=60, cwd=tmp_path)
        assert done.returncode == 0, f"./plumbline {command} --help: {done.stderr}"
        assert command in done.stdout


def names_of_options(run, *command):
    """[{'-o', '--output'}] of a command and of those that it has."""
    parts = re.split(r"(?m)^(\w[\w ]*):\n", run(*command, "--help").stdout)
    sections = dict(zip(parts[1::2], parts[2::2]))
    own = [set(names.split(",")) for names in re.findall(r"(?m)^  (-\S+)", sections.get("Options", "")) if "--help" not in names]
    return own + [names for each in re.findall(r"(?m)^  (\w\S*)", sections.get("Subcommands", "")) for names in names_of_options(run, *command, each)]


def test_the_launcher_knows_every_option_before_anything_is_built(run):
    listed = re.split(r"(?im)^subcommands:", run("--help").stdout)[-1]
    help_of = {command: subprocess.run(["bash", "-c", f". {ROOT}/cmake/launcher/help.sh; help_{command}"], capture_output=True, text=True).stdout
               for command in re.findall(r"(?m)^  (\w+)", listed)}
    help_of["record"] += help_of["verify"]  # "OPTIONS AS FOR VERIFY"
    missing = [f"{command} {'/'.join(sorted(names))}" for command, text in help_of.items() for names in names_of_options(run, command)
               if not any(re.search(rf"(?<![\w-]){re.escape(name)}(?![\w-])", text) for name in names)]
    assert missing == [], f"cmake/launcher/help.sh lacks {', '.join(missing)}"


def test_no_cuda_device_is_said_and_not_faked(run, out):
    done = run("verify", "--spec", "tiny", "--device", "cuda:97", "--out", out)
    assert done.returncode == 2
    assert "cuda:97" in done.stderr


def test_documents_are_written_whole_and_agree(run, out):
    done = run("verify", "--spec", "tiny", "--out", out)
    assert done.returncode == 0, done.stdout + done.stderr
    listed = [entry["name"] for entry in json.loads((out / "manifest.json").read_text())["files"]]
    assert sorted(os.listdir(out)) == sorted([*listed, "manifest.json"])
    assert {"result.json", "result.xml", "summary.md"} <= set(listed)
    result = json.loads((out / "result.json").read_text())
    footer = result["footer"]
    assert footer["status"] == 0
    cases = list(xml.etree.ElementTree.parse(out / "result.xml").iter("testcase"))
    assert len(cases) == len(result["requirements"])
    assert sum(r["verdict"] == "pass" for r in result["requirements"]) == footer["passed"]
    assert "conforms to tiny" in (out / "summary.md").read_text()
    for requirement in result["requirements"]:
        if requirement["verdict"] == "pass":
            assert requirement["checks"], requirement["id"]


def test_part_of_the_chapters_is_incomplete(run, out):
    done = run("verify", "--spec", "tiny", "--only", "3,5", "--out", out)
    assert done.returncode == 3, done.stdout + done.stderr
    result = json.loads((out / "result.json").read_text())
    assert {r["chapter"] for r in result["requirements"] if r["verdict"] == "pass"} == {3, 5}


def test_single_requirements_are_judged_alone(run, out):
    done = run("verify", "--spec", "tiny", "--only", "MODE-2,3,GQA-1,KVC-1", "--out", out)
    assert done.returncode == 3, done.stdout + done.stderr
    assert "Chapter 3 and requirements KVC-1, MODE-2 hold; the rest was not looked at" in done.stdout
    result = json.loads((out / "result.json").read_text())
    assert {r["id"] for r in result["requirements"] if r["verdict"] == "pass" and r["chapter"] != 3} == {"KVC-1", "MODE-2"}
    assert run("report", "check", out).returncode == 0
    done = run("verify", "--spec", "tiny", "--only", "KVC-99", "--out", out)
    assert done.returncode == 2 and "or name a requirement, such as CFG-1" in done.stderr, done.stderr


def test_a_model_of_another_specification_is_told_which(run, out, tmp_path):
    assert run("export", tmp_path / "exported", "--spec", "tiny").returncode == 0
    done = run("verify", tmp_path / "exported", "--spec", "minimind2-small", "--out", out)
    assert done.returncode == 1
    said = "its settings and parameters are those of tiny, not of minimind2-small: to judge it as that, --spec tiny"
    assert said in done.stdout and said in json.loads((out / "result.json").read_text())["header"]["notes"]


def test_a_failure_wins_over_what_was_not_looked_at(run, out):
    done = run("verify", "defect:repeat-tiled", "--spec", "tiny", "--only", "3", "--out", out)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "GQA-4" in done.stdout


def test_a_defect_that_changes_nothing_is_said_to(run, out):
    done = run("verify", "defect:activation-gelu", "--spec", "diy-before", "--only", "1", "--out", out)
    assert done.returncode == 3, done.stdout + done.stderr
    said = "activation-gelu changes nothing here: the model is like that already"
    assert said in done.stdout
    assert said in (out / "summary.md").read_text()
    assert json.loads((out / "result.json").read_text())["header"]["notes"] == [said]


def test_without_golden_tensors_the_verdict_is_incomplete(run, tmp_path, out):
    specification = json.loads((ROOT / "fixtures/specifications/tiny.json").read_text())
    specification.update(name="other", num_hidden_layers=2, parameter_count=0)
    file = tmp_path / "other.json"
    file.write_text(json.dumps(specification))
    assert run("verify", "--spec", file).returncode == 2  # 0 is not the count
    specification["parameter_count"] = count(specification)
    file.write_text(json.dumps(specification))
    done = run("verify", "--spec", file, "--out", out)
    assert done.returncode == 3, done.stdout + done.stderr
    assert "no golden tensors for 'other'" in done.stdout


def count(s):
    width, kv = s["hidden_size"], s["hidden_size"] // s["num_attention_heads"] * s["num_key_value_heads"]
    wide = (int(width * 8 / 3) + 63) // 64 * 64
    return s["vocab_size"] * width + s["num_hidden_layers"] * (2 * width * width + 2 * kv * width + 3 * wide * width + 2 * width) + width


def installed_copy(program, tmp_path):
    """The program with data of its own, as after `cmake --install`, to be tampered with."""
    prefix = tmp_path / "prefix"
    data = prefix / "share" / "plumbline"
    for name in ("fixtures", "golden"):
        shutil.copytree(ROOT / name, data / name, ignore=shutil.ignore_patterns("oracle", "minimind*.h5", "diy*.h5"))
    (prefix / "bin").mkdir()
    return program.copied_to(prefix / "bin"), data


def test_golden_files_are_read_only_as_recorded(program, tmp_path, out):
    copy, data = installed_copy(program, tmp_path)

    def judged():
        return subprocess.run([copy, "verify", "--spec", "tiny", "--out", out], capture_output=True, text=True, timeout=120)
    assert judged().returncode == 0
    shutil.rmtree(out)
    golden = data / "golden" / "tiny.h5"
    content = bytearray(golden.read_bytes())
    content[len(content) // 2] ^= 1
    golden.write_bytes(content)
    for words in (["tiny.h5", "SHA-256"], ["tiny.h5", "missing"]):
        done = judged()
        assert done.returncode == 2, done.stdout
        for word in words:
            assert word in done.stderr
        assert not out.exists()
        golden.unlink(missing_ok=True)


def test_an_unwritable_place_loses_no_verdict_silently(run, tmp_path):
    (tmp_path / "file").write_text("")
    done = run("verify", "--spec", "tiny", "--out", tmp_path / "file" / "out")
    assert done.returncode == 2
    assert "out" in done.stderr


def test_an_interrupt_leaves_no_documents(program, out):
    out.mkdir()
    process = program.start("verify", "--spec", "minimind2-small", "--out", out)
    time.sleep(3)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert process.returncode in (130, -signal.SIGINT)
    assert os.listdir(out) == []
    assert "SIGINT" not in errors
