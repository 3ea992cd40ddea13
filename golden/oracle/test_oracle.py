"""What holds of the oracle: python golden/oracle/test_oracle.py"""

import dataclasses
import json
import math
import sys
import unittest
from pathlib import Path
from unittest import mock

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from oracle import gradients, model, philox, probes, regenerate, sampling, specification, weights  # noqa: E402

import numpy as np  # noqa: E402

PROJECT = Path(__file__).resolve().parents[2]
FIXTURES = PROJECT / "fixtures"
PROBES = probes.load(FIXTURES / "probes.json")
GRADIENT_PROBES = probes.load_gradients(FIXTURES / "probes.json")
SPECIFICATIONS = {path.stem: specification.load(path) for path in (FIXTURES / "specifications").glob("*.json")}
TINY = SPECIFICATIONS["tiny"]


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




if __name__ == "__main__":
    unittest.main()
