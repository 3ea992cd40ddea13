"""What holds of the oracle and of its commands: python golden/oracle/test_oracle.py"""

import contextlib
import dataclasses
import hashlib
import io
import json
import math
import os
import shutil
import sys
import tempfile
import unittest
from pathlib import Path
from unittest import mock

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from oracle import commands, files, gradients, model, philox, probes, regenerate, sampling, specification, weights  # noqa: E402

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


def philox_one_at_a_time(counter: list[int], key: list[int]) -> list[int]:
    """The published algorithm on Python's whole numbers, written apart from philox.py."""
    c, k = list(counter), list(key)
    for _ in range(10):
        left, right = 0xD2511F53 * c[0], 0xCD9E8D57 * c[2]
        c = [(right >> 32) ^ c[1] ^ k[0], right % 2**32, (left >> 32) ^ c[3] ^ k[1], left % 2**32]
        k = [(k[0] + 0x9E3779B9) % 2**32, (k[1] + 0xBB67AE85) % 2**32]
    return c


def weight_one_at_a_time(name: str, element: int, deviation: float | None) -> np.float32:
    """Scheme 1, an element alone; a norm's weight where there is no deviation."""
    key = [weights.fnv1a(name), 1]
    if deviation is None:
        word = philox_one_at_a_time([element // 4, 0, 0, 0], key)[element % 4]
        return np.float32(0.5 + (word >> 8) * 2.0**-24)
    words = philox_one_at_a_time([element // 2, 0, 0, 0], key)
    a, b = words[2:] if element % 2 else words[:2]
    bell = (a & 0xFFFF) + (a >> 16) + (b & 0xFFFF) + (b >> 16) - 131070
    return np.float32(float(bell) * (deviation / math.sqrt((65536.0 * 65536.0 - 1.0) / 3.0)))


class Generator(unittest.TestCase):
    def test_philox_gives_its_published_known_answers(self):
        self.assertTrue(philox.matches_known_answers())
        for counter, key, answer in philox.KNOWN_ANSWERS:
            self.assertEqual(tuple(philox_one_at_a_time(counter, key)), answer)

    def test_names_hash_as_fnv_1a_is_published(self):
        for text, value in (("", 0x811C9DC5), ("a", 0xE40C292C), ("foobar", 0xBF9CF968)):
            self.assertEqual(weights.fnv1a(text), value)

    def test_elements_are_the_same_alone_and_in_bulk(self):
        per_chunk = philox.BLOCKS_AT_ONCE * 2
        for name, shape, deviation in (
                ("model.layers.0.self_attn.q_proj.weight", (512, 512), 1.6 / math.sqrt(512)),
                ("model.layers.3.mlp.down_proj.weight", (512, 1408), 1.0 / math.sqrt(1408)),
                ("model.layers.0.mlp.gate_proj.bias", (2047,), 0.3), ("model.norm.weight", (511,), None),
                ("lm_head.weight", (101, 48), 1.0 / math.sqrt(48))):
            tensor = weights.generate(name, shape).ravel()
            ends = [e for e in (0, 1, 2, 3, 5, per_chunk - 1, per_chunk, 3 * per_chunk + 7) if e < tensor.size]
            for element in [*ends, tensor.size // 2, tensor.size - 1]:
                self.assertEqual(tensor[element], weight_one_at_a_time(name, element, deviation), (name, element))

    def test_every_eighth_row_of_the_embedding_is_small(self):
        name = "model.embed_tokens.weight"
        table = weights.generate(name, (101, 48))
        for row in (0, 4, 5, 6, 13, 100):
            deviation = 0.02 * 0.15 if row % 8 == 5 else 0.02
            self.assertEqual(table[row, 7], weight_one_at_a_time(name, row * 48 + 7, deviation))

    def test_weights_have_known_bits(self):
        # The first four of each as float32 bits, written down once; any other language has to give these as well.
        known = {"model.embed_tokens.weight": (0xBCFD9809, 0x3CECE59C, 0x3C81446D, 0xBC48C0DB),
                 "model.layers.0.self_attn.q_proj.weight": (0xBE84CC00, 0xBE3334CD, 0x3D26599A, 0x3DC49666),
                 "model.layers.4.mlp.down_proj.weight": (0xBE005F94, 0xBD0E93D9, 0x3B24BA6A, 0x39E15A62),
                 "model.norm.weight": (0x3F95D418, 0x3F6432ED, 0x3F86A48E, 0x3FA06DE7)}
        shapes = weights.parameters(TINY)
        for name, bits in known.items():
            self.assertEqual(tuple(weights.generate(name, shapes[name]).ravel()[:4].view(np.uint32)), bits, name)

    def test_parameter_counts_are_the_specifications(self):
        for name, spec in SPECIFICATIONS.items():
            declared = json.loads((FIXTURES / "specifications" / f"{name}.json").read_text())["parameter_count"]
            self.assertEqual(sum(map(math.prod, weights.parameters(spec).values())), declared, name)

    def test_every_probe_of_six_tokens_or_more_has_a_small_row(self):
        for name, asked in PROBES.items():
            for probe in asked:
                tokens = probes.tokens(probe, SPECIFICATIONS[name].vocabulary)[probes.real(probe)]
                self.assertTrue(probe.length < 6 and len(probe.lengths) == 1 or np.any(tokens % 8 == 5),
                                (name, probe.name))
        for name, probe in GRADIENT_PROBES.items():
            self.assertTrue(np.any(probe.tokens(SPECIFICATIONS[name].vocabulary)[:, :-1] % 8 == 5), name)

    def test_directions_are_the_bits_of_their_own_stream(self):
        per_chunk = philox.BLOCKS_AT_ONCE * 128
        for name, shape, number in (("model.norm.weight", (48,), 0), ("model.norm.weight", (48,), 1),
                                    ("lm_head.weight", (5, per_chunk // 2), 3)):
            tensor = gradients.direction(name, shape, number).ravel()
            self.assertEqual(set(tensor), {1, -1})
            for element in {0, 1, 31, 32, 47, *(e for e in (127, 128, per_chunk - 1, per_chunk + 33) if e < tensor.size)}:
                words = philox_one_at_a_time([element // 128, 0, 0, 0], [weights.fnv1a(f"direction/{number}/{name}"), 1])
                bit = words[element // 32 % 4] >> element % 32 & 1
                self.assertEqual(tensor[element], 1 if bit else -1, (name, number, element))

    def test_directions_have_known_signs(self):
        # Written down once; any other language has to give these as well.
        known = {("model.embed_tokens.weight", 0): "+--+++---++++-+-----+-+++--+-+--+-+++-++",
                 ("model.norm.weight", 1): "--++----+-+++++-+---++--+++++-+--++-++++"}
        shapes = weights.parameters(TINY)
        for (name, number), signs in known.items():
            found = gradients.direction(name, shapes[name], number).ravel()[:40]
            self.assertEqual("".join("+" if sign > 0 else "-" for sign in found), signs, name)


def tiny_models() -> list[model.Model]:
    """The tiny model, and one with every setting the other way."""
    other = dataclasses.replace(TINY, activation="gelu", rotary="pairs", theta=1e4, attention_bias=True, mlp_bias=True,
                                tied=False, key_value_heads=TINY.heads)
    return [model.Model(spec, weights.generate_all(spec), np.float64) for spec in (TINY, other)]


class Formulas(unittest.TestCase):
    def test_activations_have_known_values(self):
        self.assertAlmostEqual(float(model.silu(np.array([1.0]))[0]), 0.7310585786300049, delta=1e-15)
        self.assertAlmostEqual(float(model.gelu(np.array([1.0]))[0]), 0.8413447460685429, delta=1e-15)
        self.assertAlmostEqual(float(model.gelu(np.array([-2.0]))[0]), -0.04550026389635842, delta=1e-15)

    def test_rotation_keeps_norms_and_is_nothing_at_position_0_and_turns_by_the_distance(self):
        x = weights.matrix("a", (1, 64), 1.0).astype(np.float64)
        y = weights.matrix("b", (1, 64), 1.0).astype(np.float64)

        def turned(vector, position, rotary):
            return model.rotate(vector, model.rotary_angles(np.array([position]), 64, 1e6, np.float64), rotary)

        for rotary in ("halves", "pairs"):
            np.testing.assert_array_equal(turned(x, 0, rotary), x)
            self.assertAlmostEqual(float(np.linalg.norm(turned(x, 32767, rotary)) / np.linalg.norm(x)), 1, delta=1e-14)
            near = np.vdot(turned(x, 9, rotary), turned(y, 4, rotary))
            far = np.vdot(turned(x, 1009, rotary), turned(y, 1004, rotary))
            self.assertAlmostEqual(float(near), float(far), delta=1e-10)

    def test_plane_1_of_halves_and_of_pairs_hold_the_columns_they_should(self):
        quarter_turn = np.array([[0.0, math.pi / 2]])
        np.testing.assert_allclose(model.rotate(np.array([[1.0, 2, 3, 4]]), quarter_turn, "halves"), [[1, -4, 3, 2]])
        np.testing.assert_allclose(model.rotate(np.array([[1.0, 2, 3, 4]]), quarter_turn, "pairs"), [[1, 2, -4, 3]])

    def test_decoding_step_by_step_gives_what_one_pass_gives(self):
        for tiny in tiny_models():
            for probe in PROBES["tiny"]:
                tokens = probes.tokens(probe, TINY.vocabulary)
                positions, visible = probes.positions(probe), probes.visible(probe)
                cache = tiny.empty_cache(len(tokens))
                logits = tiny.forward(tokens, positions, visible, cache)
                decoded, cache_of_decoding = regenerate.decode(tiny, tokens, positions, visible)
                self.assertLess(np.max(np.abs(decoded - logits)), 1e-12 * np.max(np.abs(logits)), probe.name)
                for one, other in zip(cache, cache_of_decoding):
                    for whole, stepwise in zip(one, other):
                        self.assertEqual(whole.shape, (*tokens.shape, tiny.specification.key_value_heads, 8))
                        self.assertLess(np.max(np.abs(whole - stepwise)), 1e-12 * np.max(np.abs(whole)), probe.name)

    def test_padded_rows_give_what_they_give_alone(self):
        for tiny in tiny_models():
            for probe in (probe for probe in PROBES["tiny"] if probe.padding != "none"):
                tokens, real = probes.tokens(probe, TINY.vocabulary), probes.real(probe)
                logits = tiny.forward(tokens, probes.positions(probe), probes.visible(probe),
                                      tiny.empty_cache(len(tokens)))
                for row, length in enumerate(probe.lengths):
                    alone = tiny.forward(tokens[row][real[row]][None], np.arange(length)[None],
                                         np.tril(np.ones((1, length, length), bool)), tiny.empty_cache(1))
                    self.assertLess(np.max(np.abs(logits[row][real[row]] - alone[0])), 1e-12 * np.max(np.abs(alone)))

    def test_both_paddings_hold_the_same_sentences(self):
        right, left = (next(p for p in PROBES["tiny"] if p.name == f"padded_{side}") for side in ("right", "left"))
        self.assertEqual(right.lengths, left.lengths)
        a, b = (probes.tokens(probe, TINY.vocabulary)[probes.real(probe)] for probe in (right, left))
        np.testing.assert_array_equal(a, b)


def losses(tiny: model.Model, changed: dict[str, np.ndarray], probe: probes.GradientProbe) -> float:
    """The loss with some weights replaced, by the model's ordinary pass and the loss one label at a time."""
    other = model.Model(tiny.specification, {**tiny.weights, **changed}, tiny.dtype)
    tokens, labels = probe.tokens(TINY.vocabulary), probe.labels(TINY.vocabulary)
    logits = other.forward(tokens, np.arange(probe.length)[None], np.tri(probe.length, dtype=bool)[None],
                           other.empty_cache(probe.batch))
    found = []
    for b, t in np.ndindex(labels.shape):
        if t > 0 and labels[b, t] != -100:
            probabilities = np.exp(logits[b, t - 1]) / np.sum(np.exp(logits[b, t - 1]))
            found.append(-np.log(probabilities[labels[b, t]]))
    return float(np.mean(found))


class Gradients(unittest.TestCase):
    PROBE = GRADIENT_PROBES["tiny"]

    def test_slopes_are_those_of_central_differences(self):
        # With a step d they err by d^2 times the third derivative and by rounding/d: about 1e-9 at best.
        step = 3e-6
        for tiny in tiny_models():
            loss, slopes = gradients.run(tiny, self.PROBE)
            self.assertAlmostEqual(loss[0], losses(tiny, {}, self.PROBE), delta=1e-13)
            self.assertEqual(list(slopes), list(weights.parameters(tiny.specification)))
            for name, found in slopes.items():
                for number, slope in enumerate(found):
                    along = step * gradients.direction(name, tiny.weights[name].shape, number)
                    if ".embed_tokens." in name:  # so large a step for so small values that differences err by more
                        along = along / 100
                    there, back = (losses(tiny, {name: tiny.weights[name] + move}, self.PROBE) for move in (along, -along))
                    difference = (there - back) / (2 * np.max(along))
                    self.assertLess(abs(slope - difference), 1e-7 * max(1, abs(slope)), (name, number))

    def test_the_step_does_not_matter(self):
        exact = gradients.run(tiny_models()[1], self.PROBE)[1]
        with mock.patch.object(gradients, "STEP", 2.0**-70):
            other = gradients.run(tiny_models()[1], self.PROBE)[1]
        for name in exact:
            self.assertLess(np.max(np.abs(exact[name] - other[name])), 1e-12 * np.max(np.abs(exact[name])), name)

    def test_copies_give_what_whole_passes_on_complex_weights_give(self):
        # No shared real parts, no passes that start late: every weight complex, the formulas alone.
        for tiny in tiny_models():
            s, tokens = tiny.specification, self.PROBE.tokens(TINY.vocabulary)
            slopes = gradients.run(tiny, self.PROBE)[1]
            for name in slopes:
                moved = model.Model(s, {}, np.float64)
                moved.weights = dict(tiny.weights)
                moved.weights[name] = tiny.weights[name] + 1e-20j * gradients.direction(name, tiny.weights[name].shape, 1)
                x = moved.weights["model.embed_tokens.weight"][tokens]
                for n in range(s.layers):
                    x = moved.layer(n, x, moved.angles(np.arange(self.PROBE.length)[None]),
                                    np.tri(self.PROBE.length, dtype=bool)[None], moved.empty_cache(self.PROBE.batch))
                loss = gradients.next_token_loss(moved.head(x)[None], self.PROBE.labels(TINY.vocabulary))
                self.assertLess(abs(loss.imag[0] / 1e-20 - slopes[name][1]), 1e-12 * np.max(np.abs(slopes[name])), name)

    def test_labels_that_are_shifted_otherwise_are_noticed(self):
        exact = gradients.run(tiny_models()[0], self.PROBE)

        def unshifted(logits, labels):
            return NEXT_TOKEN_LOSS(logits, np.roll(labels, 1, axis=1))

        def rows_first(logits, labels):
            return np.mean([NEXT_TOKEN_LOSS(logits[:, [b]], labels[[b]]) for b in range(len(labels))], axis=0)

        NEXT_TOKEN_LOSS = gradients.next_token_loss
        for wrong in (unshifted, rows_first):
            with mock.patch.object(gradients, "next_token_loss", wrong):
                loss, slopes = gradients.run(tiny_models()[0], self.PROBE)
            self.assertGreater(abs(loss[0] - exact[0][0]), 1e-4 * loss[0], wrong.__name__)
            for name, found in slopes.items():
                scale = np.max(np.abs(exact[1][name]))
                self.assertGreater(np.max(np.abs(found - exact[1][name])), 1e-3 * scale, (wrong.__name__, name))

    def test_erf_of_complex_numbers_is_its_expansion(self):
        found = model.erf(np.array([0.3 + 1e-12j, -1.5 + 2e-12j]))
        np.testing.assert_array_equal(found.real, [math.erf(0.3), math.erf(-1.5)])
        slopes = [2 / math.sqrt(math.pi) * math.exp(-x * x) for x in (0.3, -1.5)]
        np.testing.assert_allclose(found.imag, [1e-12 * slopes[0], 2e-12 * slopes[1]], rtol=1e-15)

    def test_no_slope_is_taken_to_err_by_less_than_its_neighbours_and_most_others(self):
        name = "gradients/slopes/model.layers.{}.mlp.up_proj.weight".format
        largest = {name(1): 1.0, name(2): 1e-3, name(3): 2.0, name(8): 1e-3, "gradients/slopes/model.norm.weight": 4.0,
                   "gradients/loss": 1e-3}
        exact = {path: np.array([0.5, -1]) * value for path, value in largest.items()}
        rounded = {path: slopes if path == name(2) else slopes * (1 + 1e-6) for path, slopes in exact.items()}
        errors = regenerate.slope_errors(exact, rounded)
        expected = {name(1): 1e-6, name(2): 2e-6, name(3): 2e-6, name(8): 1e-9, "gradients/slopes/model.norm.weight": 4e-6,
                    "gradients/loss": 1e-9}
        for path, error in errors.items():
            self.assertAlmostEqual(error["error"] / expected[path], 1, delta=1e-6, msg=path)
            self.assertEqual(error["largest"], largest[path])


class Samples(unittest.TestCase):
    """The choice of a token, held against the definitions one by one."""

    def test_a_choice_holds_as_far_as_its_margin_says(self):
        chance = np.random.default_rng(1)
        looked = 0
        for settings in sampling.ALL_SETTINGS:
            for _ in range(60):
                logits, number = chance.normal(0, 2, 30), chance.random()
                before = list(chance.integers(0, 30, 5))
                token, margin = sampling.next_token(logits, before, settings, number)
                for _ in range(30):
                    moved = logits + chance.choice([-1, 1], 30) * margin * 0.99
                    self.assertEqual(sampling.next_token(moved, before, settings, number)[0], token, settings)
                    looked += 1
        self.assertGreater(looked, 10000)

    def test_tokens_come_as_often_as_their_probabilities(self):
        logits = np.log(np.array([0.1, 0.4, 0.2, 0.3]))
        numbers = (np.arange(1000) + 0.5) / 1000
        for settings, expected in ((sampling.Settings(), [100, 400, 200, 300]), (sampling.Settings(top_k=2), [0, 571, 0, 429]),
                                   (sampling.Settings(top_p=0.65), [0, 571, 0, 429]), (sampling.Settings(temperature=0), [0, 1000, 0, 0]),
                                   (sampling.Settings(temperature=0.5), [33, 534, 133, 300])):
            drawn = [sampling.next_token(logits, [], settings, number)[0] for number in numbers]
            counts = np.bincount(drawn, minlength=4)
            self.assertLessEqual(np.abs(counts - expected).max(), 1, settings)
        penalised = sampling.next_token(np.array([2.0, 1.9, -1.0]), [0], sampling.Settings(temperature=0, repetition_penalty=1.5), 0)
        self.assertEqual(penalised[0], 1)


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
