"""Candidates that are killed or stand still, at every step and at random moments.

Run by CTest as `python test_live_kills.py PROGRAM [SEED]`. Models run in the interpreter that runs this file.
"""

import json
import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import time
import unittest

import live_cases
from live_cases import MODELS, of_marker, files_of, Runs


class Kills(Runs):
    """A candidate is killed or stands still: a verdict or a clear error, no hang, nothing left over; run with --kills."""

    SEED = None
    SAYS = {signal.SIGKILL: "was stopped by signal 9 (Killed)", signal.SIGTERM: "was stopped by signal 15 (Terminated)",
            signal.SIGSTOP: "gave no answer within 3 s"}
    SENDS_TENSORS = ("weights", "forward", "extend", "show_cache", "gradients", "operation")
    CHAPTERS = ("--only", "1,3,4,8")  # in which every request is made

    @classmethod
    def setUpClass(cls):
        import jsonschema
        schema = pathlib.Path(__file__).resolve().parents[2] / "harness" / "result" / "result.schema.json"
        cls.schema = jsonschema.Draft202012Validator(json.loads(schema.read_text()))

    def run_of(self, candidate, *arguments):
        shutil.rmtree(self.out, ignore_errors=True)
        run = self.ended(self.start(candidate, "--timeout", "3", *arguments), 90)
        return run, self.result_of(run)

    def result_of(self, run):
        """What it wrote, whole and as its exit status says; None where nothing could be judged, which it then says."""
        self.assertIn(run.returncode, (0, 1, 2, 3), run.stderr)
        if not self.out.exists():
            self.assertEqual(run.returncode, 2)
            self.assertEqual(len(run.stderr.splitlines()), 1, run.stderr)
            return None
        self.assertEqual(sorted(os.listdir(self.out)), files_of(self.out))
        result = json.loads((self.out / "result.json").read_text())
        self.assertEqual([error.json_path for error in self.schema.iter_errors(result)], [])
        self.assertEqual(run.returncode, result["footer"]["status"])
        self.assertEqual(run.stderr, "")
        if any(one["level"] == "must" and one["verdict"] == "error" for one in result["requirements"]):
            self.assertIn(run.returncode, (1, 2))
        return result

    def asked(self):
        """Names of the requests that the speaker was sent since this was last called."""
        file = self.root / "asked"
        names = file.read_text().split()
        file.unlink()
        return names

    def test_at_every_step(self):
        subprocess.run([live_cases.PROGRAM, "adapter", "check", self.speaker(extent="whole"), "--spec", "tiny"], cwd=self.root, check=True,
                       capture_output=True)
        checked = self.asked()[:-1]  # without bye
        honest = self.run_of(self.speaker(extent="whole"), *self.CHAPTERS)[0]
        names = self.asked()
        self.assertEqual(names[:len(checked)], checked)
        earliest = {name: names.index(name) + 1 for name in names}
        self.assertGreaterEqual(len(earliest), 13, "a request that is never made is never tried")
        latest = {name: number for number, name in enumerate(names, 1)}
        moments = {name: ["before", "half line", "after"] + ["half file"] * (name in self.SENDS_TENSORS) for name in earliest}
        cases = [(signal.SIGKILL, earliest[name], moment) for name in moments for moment in moments[name]]
        cases += [(signal.SIGKILL, latest[name], moment) for name in moments for moment in ("before", "after")
                  if latest[name] > earliest[name]]
        # A step that stands still takes its three seconds: one moment each.
        cases += [(how, latest[name], moments[name][(turn + shift) % len(moments[name])]) for turn, name in enumerate(moments)
                  for shift, how in enumerate((signal.SIGTERM, signal.SIGSTOP))]
        for how, number, moment in cases:
            met = number + (moment == "after")  # the request that goes unanswered
            at = names[met - 1] if met <= len(names) else "bye"
            with self.subTest(signal=how.name, request=f"{number} ({names[number - 1]})", moment=moment, seen_at=at):
                run, result = self.run_of(self.speaker(f"{how.name} {moment}", number, extent="whole"), *self.CHAPTERS)
                self.assertEqual(self.asked()[:number], names[:number])
                if met <= len(checked):
                    self.assertIsNone(result)
                    self.assertIn(f"{self.SAYS[how]} ({at})", run.stderr)
                    continue
                self.assertEqual(run.returncode, honest.returncode)
                if not set(names[met - 1:]) - {"close_cache", "bye"}:
                    continue  # nothing more was to be judged
                said = f"{self.SAYS[how]} ({at})" in json.dumps(result)
                # Where no requirement waits for the answer (caches are closed, failures are located), another one is started.
                noted = "it was started" in result["header"]["notes"][-1]
                self.assertTrue(said or noted and (at == "close_cache" or number == latest[names[number - 1]]), "not said")

    def test_at_random(self):
        print("seed", self.SEED)
        chance = random.Random(self.SEED)
        shutil.copy(MODELS / "plain_adapter.py", self.root)
        began = time.monotonic()
        self.run_of(self.speaker(extent="whole"), *self.CHAPTERS)
        longest = 0.7 * (time.monotonic() - began)  # from the start of the candidate
        hits = 0
        for turn in range(50):
            plain = turn % 8 == 0
            # Reading torch takes longer than three seconds now and then: that one is not stopped.
            how = chance.choice([signal.SIGKILL] * 4 + [signal.SIGTERM] * 2 + [signal.SIGSTOP] * (not plain))
            moment = chance.uniform(0, 4 if plain else longest)
            with self.subTest(seed=self.SEED, turn=turn, signal=how.name, moment=round(moment, 3), plain=plain):
                shutil.rmtree(self.out, ignore_errors=True)
                process = self.start(*([self.root / "plain_adapter.py", "--only", "3"] if plain
                                       else [self.speaker(extent="whole"), "--timeout", "3", *self.CHAPTERS]))
                hits += self.strike(process, "plumbline.serve" if plain else "speaker.py", how, moment)
                run = self.ended(process, 90)
                if self.result_of(run) is None:
                    self.assertIn(self.SAYS[how], run.stderr)
        self.assertGreater(hits, 15)  # the others came when all was over

    def test_what_leaves_its_group_is_seen_and_left(self):
        # A process that makes itself a session of its own is out of reach: the limit of what is promised.
        process = self.start(self.speaker("daemon", 4), "--only", "2,7")
        with self.assertRaisesRegex(AssertionError, "left running"):
            self.ended(process)
        left = of_marker(str(self.root))
        self.assertEqual(len(left), 1, left)
        os.kill(*left, signal.SIGKILL)


if __name__ == "__main__":
    live_cases.PROGRAM = str(pathlib.Path(sys.argv.pop(1)).resolve())
    Kills.SEED = int(sys.argv.pop(1)) if len(sys.argv) > 1 else random.randrange(1000000)
    unittest.main(verbosity=1)
