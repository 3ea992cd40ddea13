"""The program that Plumbline starts: one reply a request, nothing else on standard output, and errors that say where."""

import json
import os
import signal
import subprocess
import sys
import unittest

import torch
from support import HERE, LLAMA, MINIMIND, Case, Process, specification, started, weights, with_transformers, write

S = specification()
TOKENS = torch.arange(12).view(2, 6)

NOISY = f"""
import os, sys
sys.path.insert(0, {HERE!r})
import models, plumbline

print("while loading")

class Noisy(models.MiniMind):
    def forward(self, tokens, **keywords):
        print("from python")
        os.write(1, b"from below python\\n")
        os.system("echo from a child")
        assert sys.stdin.read() == ""
        if (tokens == 7).any():
            raise RuntimeError("seven is not liked\\nand this is why")
        return super().forward(tokens, **keywords)

adapter = plumbline.Module(Noisy)
"""


class Served(Case):
    def test_noisy_model(self):
        file = write("noisy.py", NOISY)
        process = Process(file)
        process.hello(S)
        process.load(weights(S))
        right = started(MINIMIND).forward(TOKENS % 6)["logits"]
        self.assertTrue(torch.equal(process.forward(TOKENS % 6)["logits"], right))
        error = process.reply("forward", {"tokens": TOKENS})["error"]
        line = NOISY.splitlines().index('            raise RuntimeError("seven is not liked\\nand this is why")') + 1
        self.assertEqual(error, {"kind": "failed", "message": "RuntimeError: seven is not liked", "where": f"{file}:{line}"})
        # It goes on.
        self.assertTrue(torch.equal(process.forward(TOKENS % 6)["logits"], right))
        self.assertEqual(process.reply("sing")["error"]["kind"], "cannot")
        for line in ("{no json", "[1, 2]"):
            print(line, file=process.process.stdin, flush=True)
            self.assertIn("a JSON object", json.loads(process.process.stdout.readline())["error"]["message"])
        process.ask("bye")
        self.assertEqual(process.process.wait(timeout=5), 0)
        status, left, errors = process.ended()
        self.assertEqual((status, left), (0, ""))
        for said in ("while loading", "from python", "from below python", "from a child", "Traceback", "and this is why"):
            self.assertIn(said, errors)
        # Requests' tensors are gone; replies' are Plumbline's to remove.
        self.assertEqual([name for name in os.listdir(process.directory) if name.startswith("request")], [])

    def test_bfloat16_and_the_end_of_input(self):
        process = Process(MINIMIND)
        process.hello(S, "bfloat16")
        process.load(weights(S))
        shown = process.ask("weights")[1]
        self.assertTrue(all(torch.equal(shown[name], tensor.bfloat16()) for name, tensor in weights(S).items()))
        self.assertEqual(process.forward(TOKENS)["logits"].dtype, torch.bfloat16)
        self.assertEqual(process.ended(), (0, "", ""))

    @with_transformers
    def test_llama_interrupted(self):
        process = Process(LLAMA)
        process.hello(S)
        process.load(weights(S))
        cache = process.open_cache(2, 6)
        process.extend(cache, TOKENS[:, :4])
        self.assert_near(process.extend(cache, TOKENS[:, 4:])["logits"], process.forward(TOKENS)["logits"][:, 4:], "logits")
        process.process.send_signal(signal.SIGINT)
        status, left, errors = process.ended()
        self.assertEqual((status, left), (-signal.SIGINT, ""))
        self.assertNotIn("Traceback", errors)

    def test_usage_and_an_interpreter_without_torch(self):
        def run(*command, given=""):
            return subprocess.run([sys.executable, *command], input=given, capture_output=True, text=True, timeout=60)

        self.assertEqual(run("-m", "plumbline.serve").returncode, 2)
        # None in sys.modules makes an import fail.
        program = "import sys; sys.modules['torch'] = None; sys.argv[1:] = ['some.py']; import plumbline.serve as s; sys.exit(s.main())"
        done = run("-c", program, given='{"id": 1, "request": "hello"}\n')
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("torch", json.loads(done.stdout)["error"]["message"])


if __name__ == "__main__":
    unittest.main()
