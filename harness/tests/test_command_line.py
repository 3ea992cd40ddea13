"""The command line: usage, exit statuses, and what a user meets when something is wrong.

Run by CTest as `python test_command_line.py PROGRAM`.
"""

import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest
import xml.etree.ElementTree

PROGRAM = None
ROOT = pathlib.Path(__file__).resolve().parents[2]


class Program(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.root = pathlib.Path(folder.name)
        self.out = self.root / "out"

    def run_program(self, *arguments, **options):
        return subprocess.run([PROGRAM, *map(str, arguments)], capture_output=True, text=True, timeout=120, cwd=self.root, **options)

    def refused(self, *arguments, words=()):
        run = self.run_program(*arguments)
        self.assertEqual(run.returncode, 2, run.stdout + run.stderr)
        self.assertEqual(len(run.stderr.strip().splitlines()), 1, run.stderr)
        self.assertNotIn("internal error", run.stderr)
        for word in words:
            self.assertIn(word, run.stderr)
        self.assertEqual(os.listdir(self.root), [], "something was written")


class CommandLine(Program):
    def test_usage_errors_are_one_line_and_status_2(self):
        self.refused(words=["plumbline --help"])
        self.refused("judge", words=["judge"])
        self.refused("verify", "--dtype", "f8", words=["f8", "bf16"])
        self.refused("verify", "--threads", "-1", words=["threads"])
        self.refused("verify", "--only", "x", words=["only"])
        self.refused("verify", "--only", "99", "--spec", "tiny", words=["99"])
        self.refused("verify", "--device", "tpu", words=["tpu", "cuda"])
        self.refused("verify", "--spec", "gpt", words=["gpt", "minimind2-small"])
        self.refused("verify", "defect:none", words=["none", "mask-none"])
        self.refused("verify", "defect:teleport", words=["teleport", "defects.json"])
        self.refused("verify", "no/such/place", words=["no/such/place", "checkpoint"])
        self.refused("verify", "reference", "another", words=["another"])
        self.refused("verify", "--out", "/dev/null/out", words=["/dev/null exists already and is no directory"])
        self.refused("export", words=["directory"])
        self.refused("export", "new", "--spec", "minimind-v1-small", words=["pairs"])

    def test_a_specification_of_ones_own_has_golden_tensors_of_its_own(self):
        tiny = json.loads((ROOT / "fixtures" / "specifications" / "tiny.json").read_text())
        biases = 5 * (2 * 128 + 48 + 2 * 48 + 2 * 16)
        mine, golden = self.root / "mine.json", self.root / "golden"
        mine.write_text(json.dumps({**tiny, "name": "mine", "attention_bias": True, "mlp_bias": True, "parameter_count": 128256 + biases}))
        made = subprocess.run([sys.executable, ROOT / "golden" / "oracle", "make", "--spec", mine, "--out", golden],
                              capture_output=True, text=True, timeout=120)
        self.assertEqual(made.returncode, 0, made.stderr)
        self.assertEqual(sorted(os.listdir(golden)), ["manifest.json", "mine.h5"])
        run = self.run_program("verify", "--spec", mine, "--golden", golden, "--out", self.out)
        self.assertEqual(run.returncode, 0, run.stdout + run.stderr)
        result = json.loads((self.out / "result.json").read_text())
        verdicts = {requirement["id"]: requirement["verdict"] for requirement in result["requirements"]}
        self.assertEqual([verdicts[name] for name in ("NUM-1", "NUM-2", "NUM-3")], ["pass"] * 3)
        run = self.run_program("verify", "defect:repeat-tiled", "--spec", mine, "--golden", golden, "--out", self.out, "--only", "8")
        self.assertEqual(run.returncode, 1)
        self.assertIn("NUM-1", run.stdout)
        for specification, folder, words in (("tiny", golden, "lists no tensors for 'tiny'"), (mine, self.root / "nowhere", "manifest.json")):
            run = self.run_program("verify", "--spec", specification, "--golden", folder, "--out", self.out)
            self.assertEqual(run.returncode, 2)
            self.assertIn(words, run.stderr)
        with (golden / "mine.h5").open("r+b") as file:
            file.seek(2000)
            file.write(b"other")
        run = self.run_program("verify", "--spec", mine, "--golden", golden, "--out", self.out)
        self.assertEqual(run.returncode, 2)
        self.assertIn("its SHA-256 is", run.stderr)

    def test_what_was_typed_does_not_steer_the_terminal(self):
        for words in (("verify", "--dtype", "\x1b[31mf8"), ("verify", "--device", "\x1b[31mtpu"), ("verify", "--spec", "\x1b[31m"),
                      ("text", "x", "--unit", "\x1b[31m"), ("verify", "reference", "\x1b[31m"), ("\x1b[31m",), ("verify", "\x1b[31m.py")):
            run = self.run_program(*words)
            self.assertEqual(run.returncode, 2)
            self.assertNotIn("\x1b", run.stderr, words)

    def test_help_explains_every_option_and_the_statuses(self):
        for command in ([], ["verify"], ["export"]):
            run = self.run_program(*command, "--help")
            self.assertEqual(run.returncode, 0)
            self.assertNotEqual(run.stdout, "")
        text = self.run_program("verify", "--help").stdout
        for word in ("--spec", "--device", "--dtype", "--threads", "--only", "--out", "0 conforms", "1 does not", "2 could not", "3 incomplete"):
            self.assertIn(word, text)

    def test_the_catalogue_of_defects(self):
        catalogue = json.loads((ROOT / "fixtures" / "defects.json").read_text())
        listed = self.run_program("defects")
        self.assertEqual((listed.returncode, listed.stderr), (0, ""))
        for defect in catalogue:
            self.assertRegex(listed.stdout, rf"(?m)^  {re.escape(defect['name'])} +{defect['severity']} +{re.escape(defect['departure'])}$")
        self.assertIn(f"{len(catalogue)} defects", listed.stdout)
        told = self.run_program("defects", "mask-inverted").stdout
        one = next(defect for defect in catalogue if defect["name"] == "mask-inverted")
        for text in (one["arises"], one["looks_like"], ", ".join(one["seen_by"]), one["stage"]):
            self.assertIn(text, told)
        for specification, words in (("minimind2-small", "23 instead of 8"), ("tiny", "20 instead of 5")):
            self.assertIn(words, self.run_program("defects", "layers-23", "--spec", specification).stdout)
        self.assertIn("23 instead of 8", self.run_program("defects", "layers-23").stdout)
        self.refused("defects", "layers-23", "--spec", "nowhere", words=["nowhere", "minimind2-small"])
        self.refused("defects", "teleport\x1b[31m", words=["teleport", "plumbline defects"])

    def test_every_requirement_is_traced_to_tests_and_defects_and_back(self):
        requirements = json.loads((ROOT / "fixtures" / "requirements.json").read_text())["requirements"]
        catalogue = json.loads((ROOT / "fixtures" / "defects.json").read_text())
        listed = self.run_program("requirements")
        self.assertEqual((listed.returncode, listed.stderr), (0, ""), listed.stdout[-600:])
        for one in requirements:
            self.assertRegex(listed.stdout, rf"(?m)^  {one['id']} +{one['level']} +[1-9]\d* tests? +\d+ defects? +{re.escape(one['statement'])}$")
        self.assertIn(f"{len(requirements)} requirements, ", listed.stdout)
        self.assertIn(f"{len(catalogue)} defects; ", listed.stdout)
        told = self.run_program("requirements", "KVC-3").stdout
        one = next(one for one in requirements if one["id"] == "KVC-3")
        for text in (one["statement"], one["source"], *(defect["name"] for defect in catalogue if "KVC-3" in defect["seen_by"])):
            self.assertIn(text, told)
        file, line = re.search(r"(suites/\w+\.cpp):(\d+)", told).groups()
        self.assertIn("REQUIREMENT(\"KVC-3\"", (ROOT / file).read_text().splitlines()[int(line) - 1])
        self.assertIn("no defect: it is about the document's claims", self.run_program("requirements", "CLAIM-a").stdout)
        self.refused("requirements", "KVC-99\x1b[31m", words=["KVC-99", "plumbline requirements"])

    def test_what_is_not_traced_is_named_and_status_1(self):
        for folder in ("bin", "share/plumbline"):
            (self.root / folder).mkdir(parents=True)
        program = self.root / "bin" / "plumbline"
        shutil.copy(PROGRAM, program)
        fixtures = self.root / "share" / "plumbline" / "fixtures"

        def complaints(change):
            shutil.rmtree(fixtures, ignore_errors=True)
            shutil.copytree(ROOT / "fixtures", fixtures)
            documents = {name: json.loads((fixtures / f"{name}.json").read_text()) for name in ("requirements", "defects", "campaign")}
            change(documents)
            for name, document in documents.items():
                (fixtures / f"{name}.json").write_text(json.dumps(document))
            run = subprocess.run([program, "requirements"], capture_output=True, text=True, timeout=60)
            said = [line for line in run.stdout.splitlines() if line.startswith("! ")]
            self.assertEqual(run.returncode, 1 if said else 0, run.stdout[-600:] + run.stderr)
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

        self.assertEqual(complaints(lambda documents: None), [])
        self.assertEqual(complaints(without_test), ["! CFG-77 has no test: nothing looks at it",
                                                    "! CFG-77 is failed by no known defect: nobody has seen its test fail"])
        self.assertRegex("\n".join(complaints(without_requirement)), r"the test at suites/claims.cpp:\d+ belongs to no requirement")
        self.assertEqual(complaints(without_defect), ["! ROPE-8 is failed by no known defect: nobody has seen its test fail"])
        self.assertEqual(complaints(without_reason), ["! CFG-16 is failed by no known defect: nobody has seen its test fail"])
        self.assertRegex(complaints(with_a_reason_that_is_none)[0], r"^! CFG-1 is failed by \S+, and fixtures/campaign.json says that nothing does$")
        self.assertRegex(complaints(of_nothing)[0], r"fixtures/defects.json says that \S+ fails CFG-99, which is no requirement")

    def test_nothing_that_a_stranger_s_repository_configures_is_run(self):
        model, ran = self.root / "model", self.root / "ran"
        self.assertEqual(self.run_program("export", model, "--spec", "tiny").returncode, 0)
        (model / ".gitattributes").write_text("* filter=theirs\n")

        def git(*arguments):
            subprocess.run(["git", "-C", model, "-c", "user.name=a", "-c", "user.email=a@b", *arguments], check=True, capture_output=True)

        def commit():
            os.utime(model / ".gitattributes", (1, 1))
            self.run_program("verify", model, "--spec", "tiny", "--out", self.out)
            return json.loads((self.out / "result.json").read_text())["header"].get("commit")

        git("init", "-q")
        git("add", "-A")
        git("commit", "-qm", "x")
        self.assertTrue(commit()["clean"])
        for key in ("clean", "process", "smudge"):
            git("config", f"filter.theirs.{key}", f"touch {ran}; cat")
        self.assertIsNone(commit())
        self.assertFalse(ran.exists(), "a filter was run")

    def test_a_document_that_is_nested_deeply_or_has_many_keys_is_refused(self):
        document = self.root / "d.json"
        for text, words in (('{"format":' + "[" * 100000 + "]" * 100000 + "}", "nested deeper"),
                            ('{"format":"plumbline-result",' + ",".join(f'"k{i}":0' for i in range(200000)) + "}", "d.json")):
            document.write_text(text)
            for arguments in (["render", document, "--out", self.out], ["merge", document, document, "--out", self.out], ["diff", document, document]):
                run = self.run_program("report", *arguments)
                self.assertEqual(run.returncode, 2, f"{arguments}: {run.stderr[-300:]}")
                self.assertIn(words, run.stderr)

    def test_the_launcher_passes_on_every_command(self):
        listed = re.split(r"(?im)^subcommands:", self.run_program("--help").stdout)[-1]
        commands = re.findall(r"(?m)^  (\w+)", listed)
        self.assertIn("record", commands)
        for command in commands:
            run = subprocess.run([ROOT / "plumbline", command, "--help"], capture_output=True, text=True, timeout=60, cwd=self.root)
            self.assertEqual(run.returncode, 0, f"./plumbline {command} --help: {run.stderr}")
            self.assertIn(command, run.stdout)

    def test_no_cuda_device_is_said_and_not_faked(self):
        run = self.run_program("verify", "--spec", "tiny", "--device", "cuda:97", "--out", self.out)
        self.assertEqual(run.returncode, 2)
        self.assertIn("cuda:97", run.stderr)


class Documents(Program):
    def test_documents_are_written_whole_and_agree(self):
        run = self.run_program("verify", "--spec", "tiny", "--out", self.out)
        self.assertEqual(run.returncode, 0, run.stdout + run.stderr)
        listed = [entry["name"] for entry in json.loads((self.out / "manifest.json").read_text())["files"]]
        self.assertEqual(sorted(os.listdir(self.out)), sorted([*listed, "manifest.json"]))
        self.assertLessEqual({"result.json", "result.xml", "summary.md"}, set(listed))
        result = json.loads((self.out / "result.json").read_text())
        footer = result["footer"]
        self.assertEqual(footer["status"], 0)
        cases = list(xml.etree.ElementTree.parse(self.out / "result.xml").iter("testcase"))
        self.assertEqual(len(cases), len(result["requirements"]))
        self.assertEqual(sum(r["verdict"] == "pass" for r in result["requirements"]), footer["passed"])
        self.assertIn("conforms to tiny", (self.out / "summary.md").read_text())
        for requirement in result["requirements"]:
            if requirement["verdict"] == "pass":
                self.assertTrue(requirement["checks"], requirement["id"])

    def test_part_of_the_chapters_is_incomplete(self):
        run = self.run_program("verify", "--spec", "tiny", "--only", "3,5", "--out", self.out)
        self.assertEqual(run.returncode, 3, run.stdout + run.stderr)
        result = json.loads((self.out / "result.json").read_text())
        self.assertEqual({r["chapter"] for r in result["requirements"] if r["verdict"] == "pass"}, {3, 5})

    def test_a_failure_wins_over_what_was_not_looked_at(self):
        run = self.run_program("verify", "defect:repeat-tiled", "--spec", "tiny", "--only", "3", "--out", self.out)
        self.assertEqual(run.returncode, 1, run.stdout + run.stderr)
        self.assertIn("GQA-4", run.stdout)

    def test_a_defect_that_changes_nothing_is_said_to(self):
        run = self.run_program("verify", "defect:activation-gelu", "--spec", "diy-before", "--only", "1", "--out", self.out)
        self.assertEqual(run.returncode, 3, run.stdout + run.stderr)
        said = "activation-gelu changes nothing here: the model is like that already"
        self.assertIn(said, run.stdout)
        self.assertIn(said, (self.out / "summary.md").read_text())
        self.assertEqual(json.loads((self.out / "result.json").read_text())["header"]["notes"], [said])

    def test_without_golden_tensors_the_verdict_is_incomplete(self):
        specification = json.loads((ROOT / "fixtures/specifications/tiny.json").read_text())
        specification.update(name="other", num_hidden_layers=2, parameter_count=0)
        file = self.root / "other.json"
        file.write_text(json.dumps(specification))
        self.assertEqual(self.run_program("verify", "--spec", file).returncode, 2)  # 0 is not the count
        specification["parameter_count"] = self.count(specification)
        file.write_text(json.dumps(specification))
        run = self.run_program("verify", "--spec", file, "--out", self.out)
        self.assertEqual(run.returncode, 3, run.stdout + run.stderr)
        self.assertIn("no golden tensors for 'other'", run.stdout)

    @staticmethod
    def count(s):
        width, kv = s["hidden_size"], s["hidden_size"] // s["num_attention_heads"] * s["num_key_value_heads"]
        wide = (int(width * 8 / 3) + 63) // 64 * 64
        return s["vocab_size"] * width + s["num_hidden_layers"] * (2 * width * width + 2 * kv * width + 3 * wide * width + 2 * width) + width

    def installed_copy(self):
        """The program with data of its own, as after `cmake --install`, to be tampered with."""
        prefix = self.root / "prefix"
        data = prefix / "share" / "plumbline"
        for name in ("fixtures", "golden"):
            shutil.copytree(ROOT / name, data / name, ignore=shutil.ignore_patterns("oracle", "minimind*.h5", "diy*.h5"))
        (prefix / "bin").mkdir()
        shutil.copy(PROGRAM, prefix / "bin" / "plumbline")
        return prefix / "bin" / "plumbline", data

    def test_golden_files_are_read_only_as_recorded(self):
        program, data = self.installed_copy()
        def judged():
            return subprocess.run([program, "verify", "--spec", "tiny", "--out", self.out], capture_output=True, text=True, timeout=120)
        self.assertEqual(judged().returncode, 0)
        shutil.rmtree(self.out)
        golden = data / "golden" / "tiny.h5"
        content = bytearray(golden.read_bytes())
        content[len(content) // 2] ^= 1
        golden.write_bytes(content)
        for words in (["tiny.h5", "SHA-256"], ["tiny.h5", "missing"]):
            run = judged()
            self.assertEqual(run.returncode, 2, run.stdout)
            for word in words:
                self.assertIn(word, run.stderr)
            self.assertFalse(self.out.exists())
            golden.unlink(missing_ok=True)

    def test_an_unwritable_place_loses_no_verdict_silently(self):
        (self.root / "file").write_text("")
        run = self.run_program("verify", "--spec", "tiny", "--out", self.root / "file" / "out")
        self.assertEqual(run.returncode, 2)
        self.assertIn("out", run.stderr)

    def test_an_interrupt_leaves_no_documents(self):
        self.out.mkdir()
        process = subprocess.Popen([PROGRAM, "verify", "--spec", "minimind2-small", "--out", self.out], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        time.sleep(3)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=30)
        self.assertIn(process.returncode, (130, -signal.SIGINT))
        self.assertEqual(os.listdir(self.out), [])
        self.assertNotIn("SIGINT", errors)


if __name__ == "__main__":
    PROGRAM = str(pathlib.Path(sys.argv.pop(1)).resolve())
    unittest.main(verbosity=1)
