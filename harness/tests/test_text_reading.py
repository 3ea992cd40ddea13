"""Files of samples as anyone writes them, and files that hold none, read by the real program.

Run by CTest as `python test_text_reading.py PROGRAM`.
"""

import json
import os
import signal
import subprocess
import time

from text_cases import Measured, main


class Reading(Measured):
    def test_prompts_that_are_null_are_unknown(self):
        document, _, _ = self.measured([{"prompt": None, "prompt_ids": [i], "ids": [1, 2, 3]} for i in range(20)])
        self.assertEqual(document["text"]["prompts"], 20)
        document, _, _ = self.measured([{"prompt": None, "ids": [1, 2, 3]} for i in range(20)])
        self.assertEqual(document["text"]["prompts"], 20)

    def test_a_strategy_is_that_of_every_sample_or_unknown(self):
        document, _, _ = self.measured([{"ids": [1, 2, 3]} for _ in range(9)] + [{"ids": [1, 2, 3], "strategy": "greedy"}])
        self.assertEqual(document["text"]["strategy"], "unknown")

    def test_reasons_for_an_end(self):
        for reason, right in (("stop", 1), ("eos_token", 1), ("STOP", 1), ("end_turn", 1), ("length", 0), ("max_tokens", 0), ("weather", None)):
            _, values, _ = self.measured([{"ids": [1, 2, 3], "finish_reason": reason}])
            self.assertEqual(values["ended"], right, reason)

    def test_an_empty_sample_does_not_hide_choices(self):
        lines = [{"ids": [1, 2, 1, 2], "predicted": [1, 1, 1, 1]}] * 3
        for extra in ([], [{"ids": [], "predicted": []}]):
            _, values, _ = self.measured(lines + extra)
            self.assertEqual((values["rep/16"], values["wrep/16"]), (0.75, 0.5))

    def test_objects_are_objects_by_any_name(self):
        for name in ("x.ndjson", "x.JSONL", "x.jsonl.bak", "x.txt"):
            document, _, _ = self.measured([{"ids": list(range(20))}] * 3, name=name)
            self.assertEqual((document["text"]["samples"], document["text"]["unit"]), (3, "token ids"))

    def test_a_number_of_tokens_is_none_of_their_ids(self):
        document, _, _ = self.measured([{"text": "a b c a b c", "tokens": 6}])
        self.assertEqual(document["text"]["unit"], "words")

    def test_marks_and_spaces_of_unicode(self):
        _, values, _ = self.measured("\ufeff你好。\u3000你好。\u3000你好。\n", name="x.txt")
        self.same(values["sentence-repetition"], 2 / 3, "three times the same")

    def test_nothing_measurable_is_not_assessed(self):
        for lines in ([{"ids": []}] * 3, [{"ids": []}]):
            document, _, _ = self.measured(lines, status=3)
            self.assertIn("nothing in it that could be measured", document["verdict"]["sentence"])


class BadInput(Measured):
    def refused(self, content, *words, name="samples.jsonl", arguments=()):
        path = self.root / name
        if content is not None:
            path.write_bytes(content if isinstance(content, bytes) else content.encode())
        run = self.run_it(path, "-o", self.root / "out.json", *arguments)
        self.assertEqual(run.returncode, 2, run.stdout)
        self.assertEqual(run.stdout, "")
        self.assertEqual(len(run.stderr.splitlines()), 1, run.stderr)
        self.assertFalse((self.root / "out.json").exists())
        for word in words:
            self.assertIn(word, run.stderr)

    def test_files_that_hold_no_samples(self):
        self.refused(None, "samples.jsonl")
        self.refused("", "holds no sample")
        self.refused("\n \n", "holds no sample")
        self.refused("", "holds no sample", name="plain.txt")
        self.refused("[1, 2]\n", "line 1", "expected a JSON object")
        self.refused('{"ids": [1, 2]}\n{"ids": [1, 2\n', "line 2")
        self.refused('{"prompt": "x"}\n', "line 1", "no text")
        self.refused('{"ids": [1]}\n{"text": "x"}\n', "line 2", "choose one with --unit")
        self.refused('{"text": 5}\n', "line 1", "no string")
        self.refused('{"ids": 5}\n', "line 1", "no array")

    def test_ids_that_are_none(self):
        for wrong in ("-1", "1.5", "true", "null", '"7"', "4294967295", "1e3", "99999999999999999999999"):
            self.refused('{"ids": [3, %s]}\n' % wrong, "line 1", "ids[1]")
        self.refused('{"ids": [3, 6400]}\n', "ids[1] is 6400, expected a token id below 6400", arguments=["--vocabulary", "6400"])
        self.refused('{"ids": [3], "predicted": []}\n', "'predicted' has 0 tokens, 'ids' 1")
        self.refused('{"ids": [3], "strategy": "beam"}\n', "expected greedy or sampled")
        self.refused('{"text": "a. b."}\n', "leave it out", arguments=["--sentence-ends", "1"])

    def test_outputs_are_not_inputs(self):
        path = self.root / "samples.jsonl"
        path.write_text('{"ids": [3]}\n')
        other = self.root / "a"
        for words, said in ((("-o", path), "name another file"), (("--each", path), "name another file"),
                            (("-o", other, "--each", other), "name another file"), (("-o", self.root), "is a directory")):
            run = self.run_it(path, *words)
            self.assertEqual(run.returncode, 2)
            self.assertIn(said, run.stderr)
        self.assertFalse(other.exists())
        self.assertEqual(path.read_text(), '{"ids": [3]}\n')
        with open("/dev/full", "w") as full:
            run = subprocess.run([self.program, "text", str(path)], stdout=full, stderr=subprocess.PIPE, text=True, timeout=60)
        self.assertEqual(run.returncode, 2)
        self.assertIn("cannot be written to", run.stderr)

    def test_text_that_is_none(self):
        self.refused(b"fine\nbroken \xff here\n", "line 2", "byte 8 is no UTF-8", name="plain.txt")
        self.refused(b'{"text": "\xc0\xaf"}\n', "line 1")
        self.refused("some text\n", "has no token ids", name="plain.txt", arguments=["--unit", "ids"])

    def test_markup_and_control_characters_do_not_reach_the_terminal(self):
        path = self.file([{"text": "\x1b[31m red \u202e tfel"}], "a\x1b[31m.jsonl")
        run = self.run_it(path)
        self.assertEqual(run.returncode, 0, run.stderr)
        self.assertNotIn("\x1b", run.stdout)

    def test_an_interrupt_leaves_nothing(self):
        lines = "".join(json.dumps({"ids": list(range(1000))}) + "\n" for _ in range(3000))
        path, out = self.file(lines), self.root / "text.json"
        process = subprocess.Popen([self.program, "text", str(path), "-o", str(out)], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        time.sleep(0.8)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=20)
        self.assertIn(process.returncode, (-signal.SIGINT, 0))
        if process.returncode != 0:
            self.assertEqual(sorted(os.listdir(self.root)), ["samples.jsonl"])


if __name__ == "__main__":
    main()
