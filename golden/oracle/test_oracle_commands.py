"""What holds of the oracle's commands: python golden/oracle/test_oracle_commands.py"""

import contextlib
import hashlib
import io
import json
import os
import shutil
import sys
import tempfile
import unittest
from pathlib import Path
from unittest import mock

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from oracle import commands, files, probes, regenerate, sampling, specification, weights  # noqa: E402

import h5py  # noqa: E402
import numpy as np  # noqa: E402

PROJECT = Path(__file__).resolve().parents[2]
FIXTURES = PROJECT / "fixtures"
PROBES = probes.load(FIXTURES / "probes.json")
GRADIENT_PROBES = probes.load_gradients(FIXTURES / "probes.json")
SPECIFICATIONS = {path.stem: specification.load(path) for path in (FIXTURES / "specifications").glob("*.json")}
TINY = SPECIFICATIONS["tiny"]

WRITE_SAMPLES = sampling.regenerate
SAMPLES: dict[str, str] = {}  # by the specification's SHA-256: they take seconds to write


def samples_of(spec: specification.Specification) -> dict:
    if spec.sha256 not in SAMPLES:
        SAMPLES[spec.sha256] = json.dumps(WRITE_SAMPLES(spec))
    return json.loads(SAMPLES[spec.sha256])


HELD = {"tiny.h5", "manifest.json", "samples.json"}


class Commands(unittest.TestCase):
    """On a copy of golden/ that holds the tiny model alone."""

    def setUp(self):
        self.folder = Path(self.enterContext(tempfile.TemporaryDirectory()))
        self.enterContext(mock.patch.dict(os.environ))
        os.environ.pop("CI", None)
        self.golden, self.fixtures = self.folder / "golden", self.folder / "fixtures"
        self.golden.mkdir()
        shutil.copytree(FIXTURES, self.fixtures)
        shutil.copy(PROJECT / "golden" / "tiny.h5", self.golden)
        shutil.copy(PROJECT / "golden" / "samples.json", self.golden)
        self.enterContext(mock.patch.object(sampling, "regenerate", samples_of))
        self.h5, self.manifest = self.golden / "tiny.h5", self.golden / "manifest.json"
        document = json.loads((PROJECT / "golden" / "manifest.json").read_text())
        document["files"] = [item for item in document["files"] if item["file"] == "tiny.h5"]
        self.manifest.write_text(json.dumps(document))

    def run_command(self, *words: str) -> tuple[int, str, str]:
        """Status, output, errors; each error has to be one line without a traceback."""
        out, err = io.StringIO(), io.StringIO()
        places = ["--golden", str(self.golden), "--fixtures", str(self.fixtures)]
        chosen = [] if words[0] == "accept" else ["--specification", "tiny"]
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            status = commands.main([*words, *places, *chosen])
        self.assertNotIn("Traceback", err.getvalue())
        return status, out.getvalue(), err.getvalue()

    def edit_manifest(self, edit) -> None:
        document = json.loads(self.manifest.read_text())
        edit(document["files"][0])
        self.manifest.write_text(json.dumps(document))

    def rehash(self) -> None:
        data = self.h5.read_bytes()
        self.edit_manifest(lambda item: item.update(sha256=hashlib.sha256(data).hexdigest(), bytes=len(data)))

    def names(self) -> set[str]:
        return {path.name for path in self.golden.iterdir()}

    def expect(self, status: int, *words: str) -> None:
        """Of `check`: this status, and an error that has these words."""
        found, _, errors = self.run_command("check")
        self.assertEqual(found, status, errors)
        for word in words:
            self.assertIn(word, errors)


class MakeAndCheck(Commands):
    def test_make_writes_tensors_for_a_specification_of_ones_own(self):
        def made(*words) -> tuple[int, str]:
            err = io.StringIO()
            with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(err):
                status = commands.main(["make", *map(str, words)])
            self.assertNotIn("Traceback", err.getvalue())
            return status, err.getvalue()

        tiny = json.loads((FIXTURES / "specifications" / "tiny.json").read_text())
        out = self.folder / "own"
        for name in ("first", "second", "first"):
            file = self.folder / f"{name}.json"
            file.write_text(json.dumps({**tiny, "name": name}))
            self.assertEqual(made("--spec", file, "--out", out), (0, ""))
        entries = files.read_manifest(out / "manifest.json")
        self.assertEqual([item["file"] for item in entries], ["second.h5", "first.h5"])
        for item in entries:
            tensors, attributes = files.decode(files.read_listed(out / item["file"], item), out / item["file"])
            self.assertEqual(attributes["@specification"], item["specification"])
            self.assertIn("rotation/rotated", tensors)
            self.assertIn("gradients/slopes/model.norm.weight", tensors)
            self.assertTrue(any(name.endswith("stages/logits") for name in tensors))
        for words, said in ((("--spec", self.folder / "nowhere.json", "--out", out), "nowhere.json"),
                            (("--spec", file, "--out", file), "no directory")):
            status, errors = made(*words)
            self.assertEqual(status, 2)
            self.assertIn(said, errors)
        short = self.folder / "short.json"
        short.write_text(json.dumps({**tiny, "name": "short", "max_position_embeddings": 4}))
        status, errors = made("--spec", short, "--out", self.folder / "other")
        if status == 2:  # unless a probe is as short as that
            self.assertFalse((self.folder / "other").exists())

    def test_check_accepts_what_is_recorded(self):
        status, out, errors = self.run_command("check")
        self.assertEqual((status, errors), (0, ""))
        self.assertIn("tensors agree", out)

    def test_check_finds_a_flipped_byte_before_anything_opens_the_file(self):
        data = bytearray(self.h5.read_bytes())
        data[len(data) // 2] ^= 1
        self.h5.write_bytes(data)
        with mock.patch.object(h5py, "File", side_effect=AssertionError("opened")):
            self.expect(2, "tiny.h5", "SHA-256", "restore")

    def test_check_finds_a_wrong_hash_and_a_wrong_size_and_a_missing_file(self):
        before = self.manifest.read_text()
        self.edit_manifest(lambda item: item.update(sha256="0" * 64))
        self.expect(2, "tiny.h5", "0" * 64)
        self.manifest.write_text(before)
        self.edit_manifest(lambda item: item.update(bytes=item["bytes"] + 1))
        self.expect(2, "tiny.h5", "bytes")
        self.manifest.write_text(before)
        self.h5.unlink()
        self.expect(2, "tiny.h5", "listed in manifest.json")

    def test_check_finds_a_changed_value_whose_hash_was_made_to_agree(self):
        with h5py.File(self.h5, "r+") as file:
            dataset = file["probes/short/stages/layers.3.up"]
            scale = np.max(np.abs(dataset[()]))
            dataset[0, 2, 5] += 1e-9 * scale
        self.rehash()
        self.expect(1, "probes/short/stages/layers.3.up[0, 2, 5]", "expected")

    def test_check_finds_an_altered_slope_and_an_altered_label(self):
        name = "gradients/slopes/model.layers.2.mlp.up_proj.weight"
        with h5py.File(self.h5, "r+") as file:
            file[name][1] *= 1 + 1e-8
        self.rehash()
        self.expect(1, name + "[1]", "expected")
        shutil.copy(PROJECT / "golden" / "tiny.h5", self.h5)
        with h5py.File(self.h5, "r+") as file:
            file["gradients/labels"][0, 4] = 7
        self.rehash()
        self.expect(1, "gradients/labels[0, 4]", "equal")
        shutil.copy(PROJECT / "golden" / "tiny.h5", self.h5)
        self.edit_manifest(lambda item: item["float32_error"].pop(name))
        self.rehash()
        self.expect(1, name, "float32")

    def test_check_finds_nan_and_a_lost_mask(self):
        for stage, value in (("logits", np.nan), ("layers.0.scores", 0.0)):
            shutil.copy(PROJECT / "golden" / "tiny.h5", self.h5)
            with h5py.File(self.h5, "r+") as file:
                dataset = file[f"probes/short/stages/{stage}"]
                dataset[(0, 0, 5, 6)[-dataset.ndim:]] = value
            self.rehash()
            self.expect(1, stage)

    def test_check_finds_missing_and_extra_and_misshapen_datasets_and_attributes(self):
        def remove(file):
            del file["probes/short/stages/layers.0.q"]

        def add(file):
            file["probes/short/stages/layers.9.q"] = np.zeros(3)

        def reshape(file):
            values = file["probes/short/lengths"][()]
            del file["probes/short/lengths"]
            file["probes/short/lengths"] = values.astype(np.float64)

        def relabel(file):
            file["probes/padded_left"].attrs["padding"] = "right"

        for edit, word in ((remove, "layers.0.q"), (add, "layers.9.q"), (reshape, "lengths"), (relabel, "padding")):
            shutil.copy(PROJECT / "golden" / "tiny.h5", self.h5)
            with h5py.File(self.h5, "r+") as file:
                edit(file)
            self.rehash()
            self.expect(2, word)

    def test_check_finds_a_file_that_is_no_hdf5_although_its_hash_agrees(self):
        self.h5.write_bytes(b"not HDF5")
        self.rehash()
        self.expect(2, "tiny.h5", "HDF5")

    def test_check_finds_unlisted_files_and_files_the_manifest_forgot(self):
        shutil.copy(self.h5, self.golden / "other.h5")
        self.expect(2, "other.h5", "does not list")
        document = json.loads(self.manifest.read_text())
        document["files"] = []
        self.manifest.write_text(json.dumps(document))
        self.expect(2, "tiny.h5", "does not list")

    def test_check_finds_a_changed_specification(self):
        path = self.fixtures / "specifications" / "tiny.json"
        path.write_text(path.read_text() + "\n")
        self.expect(2, "tiny.json", "SHA-256")

    def test_check_finds_float32_errors_that_were_made_generous(self):
        self.edit_manifest(lambda item: item["float32_error"]["short/logits"].update(error=1e-3))
        self.expect(1, "short/logits", "float32")

    def test_check_refuses_manifests_that_are_none(self):
        for text in ("", "[]", "{", '{"format": "plumbline-golden-manifest", "version": 1}', "[" * 100000,
                     '{"format": "plumbline-golden-manifest", "version": 1, "files": [{"file": "../x.h5"}]}', "\udcff"):
            self.manifest.write_bytes(text.encode("utf-8", "surrogateescape"))
            self.expect(2, "manifest.json")
        self.manifest.unlink()
        self.expect(2, "manifest.json")

    def test_impossible_specifications_and_probes_are_refused(self):
        path = self.fixtures / "specifications" / "tiny.json"
        good = path.read_text()
        for key, value in (("num_key_value_heads", 4), ("hidden_size", 50), ("vocab_size", 10**12), ("hidden_act", "relu"),
                           ("rope_theta", None), ("num_hidden_layers", True)):
            path.write_text(json.dumps(json.loads(good) | {key: value}))
            status, _, errors = self.run_command("record")
            self.assertEqual((status, self.names()), (2, HELD), errors)
            self.assertIn("tiny.json", errors)
            self.assertEqual(errors.count("\n"), 1)
        path.write_text(good)
        probe_file = self.fixtures / "probes.json"
        document = json.loads(probe_file.read_text())
        for key, value in (("lengths", [0]), ("lengths", "11"), ("padding", "top"), ("positions", [11]), ("batch", 2)):
            broken = json.loads(json.dumps(document))
            broken["probes"][0][key] = value
            probe_file.write_text(json.dumps(broken))
            status, _, errors = self.run_command("record")
            self.assertEqual(status, 2)
            self.assertIn("probes[0]", errors)
        for key, value in (("batch", 0), ("length", 1), ("ignored", [[2, 0]]), ("ignored", [[0]]), ("ignored", 4),
                           ("ignored", [[b, t] for b in range(2) for t in range(9)]), ("directions", True),
                           ("specifications", ["huge"]), ("specifications", ["tiny", "tiny"]), ("why", None)):
            broken = json.loads(json.dumps(document))
            broken["gradients"][0][key] = value
            probe_file.write_text(json.dumps(broken))
            status, _, errors = self.run_command("record")
            self.assertEqual(status, 2, (key, value))
            self.assertIn("gradients[0]: " + key, errors)
        probe_file.write_text(json.dumps(document | {"gradients": None}))
        self.assertIn("gradients: expected a list", self.run_command("check")[2])


class RecordAndAccept(Commands):
    def test_record_and_accept_write_nothing_where_ci_is_set(self):
        self.h5.unlink()
        for command in ("record", "accept"):
            with mock.patch.dict(os.environ, CI="true"):
                status, _, errors = self.run_command(command)
            self.assertEqual((status, self.names()), (2, HELD - {"tiny.h5"}))
            self.assertIn("CI", errors)

    def test_record_says_no_change_and_leaves_nothing_new(self):
        (self.golden / "tiny.h5.new").write_bytes(b"left by an earlier record")
        status, out, _ = self.run_command("record")
        self.assertEqual((status, self.names()), (0, HELD))
        self.assertEqual(out.splitlines()[-1], "no change")

    def test_record_and_accept_bring_a_changed_specification_through_review(self):
        path = self.fixtures / "specifications" / "tiny.json"
        path.write_text(path.read_text().replace("1e-05", "2e-05"))
        before = self.h5.read_bytes()
        status, out, _ = self.run_command("record")
        self.assertEqual((status, self.names()), (0, {*HELD, "tiny.h5.new", "manifest.json.new", "samples.json.new"}))
        self.assertEqual(self.h5.read_bytes(), before)
        self.assertIn("probes/short/stages/layers.0.attention_norm", out)
        self.assertNotIn("probes/short/stages/embedding ", out)
        self.assertEqual(self.run_command("accept")[0], 0)
        self.assertEqual(self.names(), HELD)
        self.assertEqual(self.run_command("check")[0], 0)
        self.assertEqual(self.run_command("record")[1].splitlines()[-1], "no change")

    def test_record_names_new_and_removed_tensors(self):
        path = self.fixtures / "probes.json"
        document = json.loads(path.read_text())
        document["probes"][0]["name"] = "brief"
        path.write_text(json.dumps(document))
        status, out, _ = self.run_command("record")
        self.assertEqual(status, 0)
        self.assertRegex(out, r"probes/brief/stages/logits +new \[1, 11, 101\]")
        self.assertRegex(out, r"probes/short/stages/logits +removed")

    def test_golden_samples_that_are_not_what_the_formulas_write(self):
        path = self.golden / "samples.json"
        good = path.read_text()
        for edit, status, words in ((lambda d: d["groups"][1]["rows"][2]["tokens"].__setitem__(3, 102), 1, ["groups[1].rows[2].tokens"]),
                                    (lambda d: d["groups"][0]["rows"][0].update(margin=0.5), 1, ["margins"]),
                                    (lambda d: d["groups"].pop(), 1, ["settings"]), (lambda d: d.pop("groups"), 2, ["golden samples"]),
                                    (lambda d: d.update(groups=[1]), 2, ["golden samples"])):
            document = json.loads(good)
            edit(document)
            path.write_text(json.dumps(document))
            self.expect(status, "samples.json", *words)
        path.write_text("{")
        self.expect(2, "samples.json", "cannot be read")
        path.unlink()
        self.expect(2, "samples.json", "record")
        self.assertEqual(self.run_command("record")[0], 0)
        self.assertEqual(self.names(), {"tiny.h5", "manifest.json", "samples.json.new"})
        self.assertEqual(self.run_command("accept")[0], 0)
        self.assertEqual(path.read_text(), good)
        self.expect(0)

    def test_record_keeps_the_old_file_where_only_rounding_differs(self):
        with h5py.File(self.h5, "r+") as file:
            file["probes/short/stages/logits"][0, 0, 0] *= 1 + 1e-14
        self.rehash()
        status, out, _ = self.run_command("record")
        self.assertEqual((status, self.names()), (0, HELD))
        self.assertIn("rounding", out)

    def test_accept_refuses_nothing_and_unlisted_and_altered_files(self):
        self.assertEqual(self.run_command("accept")[0], 2)
        (self.golden / "tiny.h5.new").write_bytes(b"x")
        self.assertEqual(self.run_command("accept")[0], 2)
        shutil.copy(self.manifest, self.golden / "manifest.json.new")
        before = self.h5.read_bytes()
        status, _, errors = self.run_command("accept")
        self.assertEqual((status, self.h5.read_bytes()), (2, before))
        self.assertIn("tiny.h5.new", errors)

    def test_an_interrupted_accept_can_be_repeated(self):
        path = self.fixtures / "specifications" / "tiny.json"
        path.write_text(path.read_text().replace("1e-05", "2e-05"))
        self.run_command("record")
        write = files.write_atomically

        def stop_at_the_manifest(target, data):
            if target.name == "manifest.json":
                raise KeyboardInterrupt
            write(target, data)

        with mock.patch.object(files, "write_atomically", stop_at_the_manifest):
            self.assertEqual(self.run_command("accept")[0], 130)
        self.assertEqual(self.run_command("accept")[0], 0)
        self.assertEqual(self.run_command("check")[0], 0)

    def test_an_interrupted_record_leaves_nothing(self):
        path = self.fixtures / "specifications" / "tiny.json"
        path.write_text(path.read_text().replace("1e-05", "2e-05"))
        for place in ("os.replace", "os.fsync", "oracle.regenerate.rotation"):
            with mock.patch(place, side_effect=KeyboardInterrupt):
                status, _, errors = self.run_command("record")
            self.assertEqual((status, self.names()), (130, HELD), place)
            self.assertIn("interrupted", errors)

    def test_an_unknown_specification_is_refused(self):
        err = io.StringIO()
        with contextlib.redirect_stderr(err), contextlib.redirect_stdout(io.StringIO()):
            status = commands.main(["check", "--specification", "huge", "--golden", str(self.golden)])
        self.assertEqual(status, 2)
        self.assertIn("huge", err.getvalue())

    def test_the_same_tensors_give_the_same_bytes(self):
        first, second = (files.encode(regenerate.regenerate(TINY, weights.generate_all(TINY), PROBES["tiny"],
                                                            GRADIENT_PROBES["tiny"]))
                         for _ in range(2))
        self.assertEqual(hashlib.sha256(first).hexdigest(), hashlib.sha256(second).hexdigest())


if __name__ == "__main__":
    unittest.main()
