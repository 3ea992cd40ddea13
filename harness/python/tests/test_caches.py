"""A model with its cache says what it says without, and the cache is shown as it is held."""

import unittest
from types import SimpleNamespace

import models
import plain_adapter
import torch
from support import LLAMA, MINIMIND, PLAIN, Case, specification, started, with_transformers

import plumbline
from plumbline import caches

S = specification()
TOKENS = torch.randint(0, S["vocab_size"], (3, 9), generator=torch.Generator().manual_seed(2))
OTHERS = torch.randint(0, S["vocab_size"], (2, 9), generator=torch.Generator().manual_seed(3))


def real_rows(x, lengths, side):
    return [row[:n] if side == "right" else row[len(row) - n:] for row, n in zip(x, lengths)]


class Caches(Case):
    def check(self, file, sides, padded_caches):
        talk = started(file)
        self.assertEqual(talk.description["can"]["padding"], sides)
        self.assertEqual(talk.description["can"]["cache"]["padding"], padded_caches)
        self.check_decoding(talk)
        for side in sides:
            self.check_padding(talk, side)
        for side in padded_caches:
            self.check_padded_prefill(talk, side, again="right" in padded_caches)
        self.check_shown(talk)

    def check_decoding(self, talk):
        """Two caches at once, by turns: prefill, a chunk, one at a time."""
        full, other = talk.forward(TOKENS)["logits"], talk.forward(OTHERS)["logits"]
        first, second = talk.open_cache(3, 9), talk.open_cache(2, 9)
        self.assertNotEqual(first, second)
        for begin, end in ((0, 4), (4, 7), (7, 8), (8, 9)):
            self.assert_near(talk.extend(first, TOKENS[:, begin:end])["logits"], full[:, begin:end], f"logits {begin} to {end}")
            self.assert_near(talk.extend(second, OTHERS[:, begin:end])["logits"], other[:, begin:end], f"others {begin} to {end}")
        talk.ask("close_cache", cache=first)
        self.assertEqual(talk.refused("show_cache", cache=first)["kind"], "cannot")
        self.assertEqual(talk.ask("show_cache", cache=second)[0]["length"], 9)

    def check_padding(self, talk, side):
        lengths = [9, 5, 1]
        padded = talk.forward(TOKENS, padding=side, lengths=lengths)["logits"]
        rows = real_rows(TOKENS, lengths, side)
        for row, tokens, logits in zip(range(3), rows, real_rows(padded, lengths, side)):
            self.assert_near(logits, talk.forward(tokens.unsqueeze(0))["logits"][0], f"row {row} padded {side}")

    def check_padded_prefill(self, talk, side, again):
        """After a padded prefill, each row goes on from its own last real token; `again`: a later call may be padded too."""
        lengths, later = [5, 3, 1], [2, 1, 2] if again else [2, 2, 2]
        cache = talk.open_cache(3, 9)
        talk.extend(cache, TOKENS[:, :5], padding=side, lengths=lengths)
        third = talk.extend(cache, TOKENS[:, 5:7], padding=side, lengths=later)["logits"]
        last = talk.extend(cache, TOKENS[:, 7:8])["logits"]
        for row in range(3):
            before = real_rows(TOKENS[:, :5], lengths, side)[row]
            middle = real_rows(TOKENS[:, 5:7], later, side)[row]
            alone = talk.forward(torch.cat([before, middle, TOKENS[row, 7:8]]).unsqueeze(0))["logits"][0]
            self.assert_near(last[row, 0], alone[-1], f"row {row} after padding {side}")
            self.assert_near(real_rows(third, later, side)[row], alone[len(before):-1], f"row {row}, the call after padding {side}")

    def check_shown(self, talk):
        """Rotated keys and values, unrepeated, in the declared axes; in bytes no more than they take."""
        cache = talk.open_cache(3, 9)
        for begin, end in ((0, 4), (4, 5)):
            talk.extend(cache, TOKENS[:, begin:end])
        numbers, tensors = talk.ask("show_cache", cache=cache)
        self.assertEqual(numbers["length"], 5)
        slots = 9 if talk.description["can"]["cache"]["capacity"] else 5
        self.assertEqual(numbers["capacity"], slots)
        self.assertEqual(numbers["bytes"], 5 * 2 * 3 * slots * 2 * 8 * 4)  # layers, keys and values, B, slots, K, Dh, float32
        axes = talk.description["can"]["cache"]["axes"]
        order = [axes.index(axis) for axis in ("batch", "position", "head", "size")]
        stages = talk.forward(TOKENS[:, :5], observe=["k_rotated", "v"])
        for layer in range(5):
            for held, stage in (("keys", "k_rotated"), ("values", "v")):
                self.assert_near(tensors[f"layers.{layer}.{held}"].permute(order), stages[f"layers.{layer}.{stage}"], held)

    @with_transformers
    def test_llama(self):
        self.check(LLAMA, ["right", "left"], ["right", "left"])

    def test_minimind(self):
        self.check(MINIMIND, ["right", "left"], ["left"])

    def test_padding_that_would_leave_a_gap_is_not_offered(self):
        talk = started(MINIMIND)
        for calls in ([("right", [3, 1, 4])], [("left", [4, 4, 4]), ("left", [3, 1, 4])]):
            cache = talk.open_cache(3, 9)
            replies = [talk.reply("extend", {"tokens": TOKENS[:, :4]}, cache=cache, padding=side, lengths=lengths)
                       for side, lengths in calls]
            self.assertEqual(["error" in reply for reply in replies], [False] * (len(calls) - 1) + [True])
            self.assertEqual(replies[-1]["error"]["kind"], "cannot")

    def test_plain(self):
        self.check(PLAIN, ["right", "left"], ["right", "left"])

    def test_nothing_written_yet(self):
        talk = started(MINIMIND)
        numbers, tensors = talk.ask("show_cache", cache=talk.open_cache(2, 4))
        self.assertEqual((numbers["length"], numbers["capacity"], numbers["bytes"], tensors), (0, 0, 0, {}))

    def test_overrun(self):
        talk = started(PLAIN)
        cache = talk.open_cache(3, 5)
        talk.extend(cache, TOKENS[:, :4])
        error = talk.refused("extend", {"tokens": TOKENS[:, 4:6]}, cache=cache)
        self.assertEqual(error["kind"], "overrun")
        self.assertIn("2 tokens do not fit: 4 of 5", error["message"])
        self.assertEqual(talk.ask("show_cache", cache=cache)[0]["length"], 4)
        self.assert_near(talk.extend(cache, TOKENS[:, 4:5])["logits"], talk.forward(TOKENS[:, :5])["logits"][:, 4:], "logits")

    def test_what_fits_and_is_refused_like_what_does_not(self):
        """That is the cache's answer; any other error in there is the model's."""

        class Small(models.Plain):
            def forward(self, tokens, *more, cache=None, start=0, **keywords):
                if cache is not None and start + tokens.shape[1] >= cache["keys"][0].shape[2]:
                    raise IndexError("no room")
                if cache is not None and start == 1:
                    raise IndexError("another thing")
                return super().forward(tokens, *more, cache=cache, start=start, **keywords)

        adapter = plain_adapter.adapter(S)
        adapter.build = Small
        talk = started(adapter)
        opened = talk.open_cache(3, 5)
        self.assertEqual(talk.refused("extend", {"tokens": TOKENS[:, :5]}, cache=opened)["kind"], "overrun")
        talk.extend(opened, TOKENS[:, :1])
        self.assertEqual(talk.refused("extend", {"tokens": TOKENS[:, 1:2]}, cache=opened)["kind"], "failed")

    def test_a_cache_that_nothing_fits_in(self):
        """A model that raises whatever the room answers nothing."""

        class Never(models.Plain):
            def forward(self, tokens, *more, cache=None, **keywords):
                if cache is not None:
                    raise IndexError("no luck")
                return super().forward(tokens, *more, cache=cache, **keywords)

        adapter = plain_adapter.adapter(S)
        adapter.build = Never
        talk = started(adapter)
        self.assertEqual(talk.refused("extend", {"tokens": TOKENS[:, :2]}, cache=talk.open_cache(3, 9))["kind"], "failed")

    def test_unwritten_slots_are_filled_and_written_ones_are_not(self):
        talk = started(PLAIN)
        cache = talk.open_cache(3, 9)
        talk.extend(cache, TOKENS[:, :4])
        before = talk.ask("show_cache", cache=cache)[1]
        talk.ask("fill_cache", cache=cache, value=1e4)
        after = talk.ask("show_cache", cache=cache)[1]
        self.assertTrue(all(torch.equal(before[name], after[name]) for name in before))
        talk.extend(cache, TOKENS[:, 4:5])
        # Within the module's own tensors: what follows the five written slots.
        held = talk.send.__self__.caches[cache].held
        self.assertTrue(all((layer[:, :, 5:] == 1e4).all() for name in held for layer in held[name]))
        self.assertEqual(started(MINIMIND).refused("fill_cache", cache=1, value=1.0)["kind"], "cannot")

    def test_without_a_description_there_is_no_cache(self):
        talk = started(plumbline.Module(models.MiniMind))
        self.assertIsNone(talk.description["can"]["cache"])
        self.assertEqual(talk.refused("open_cache", batch=1, capacity=4)["kind"], "cannot")
        self.assertEqual(talk.refused("forward", {"tokens": TOKENS}, padding="left", lengths=[9, 1, 2])["kind"], "cannot")
        self.assertEqual(talk.refused("forward", {"tokens": TOKENS}, first_position=4)["kind"], "cannot")

    def test_places_in_what_the_model_returns(self):
        class Tuple(models.MiniMind):
            def forward(self, *args, **keywords):
                out = super().forward(*args, **keywords)
                return {"answer": out.logits, "aside": 0, "memory": out.past_key_values}

        talk = started(plumbline.Module(Tuple, logits="answer", name="mine",
                                        cache=plumbline.Cache(keywords={"use_cache": True}, result="memory")))
        self.assertEqual(talk.description["name"], "mine")
        self.check_decoding(talk)

    def test_a_cache_of_unknown_form(self):
        class Odd(models.MiniMind):
            def forward(self, *args, past_key_values=None, **keywords):
                out = super().forward(*args, past_key_values=past_key_values and past_key_values.pairs, **keywords)
                out.past_key_values = SimpleNamespace(pairs=out.past_key_values)
                return out

        for show, kind in ((None, "cannot"), (lambda held: held.pairs, None)):
            talk = started(plumbline.Module(Odd, cache=plumbline.Cache(keywords={"use_cache": True}, show=show)))
            cache = talk.open_cache(3, 9)
            talk.extend(cache, TOKENS)
            with self.subTest(kind):
                reply = talk.reply("show_cache", cache=cache)
                self.assertEqual(reply.get("error", {}).get("kind"), kind)


class Forms(unittest.TestCase):
    """Keys and values are found in every usual form."""

    def test_forms(self):
        pairs = [(torch.rand(2), torch.rand(2)) for _ in range(3)]
        keys, values = zip(*pairs)
        forms = {
            "tuples": tuple(pairs),
            "lists, with more in each": [[k, v, None] for k, v in pairs],
            "dicts": [{"k": k, "v": v} for k, v in pairs],
            "a dict of lists": {"keys": list(keys), "values": list(values), "length": 2},
            "a dict of stacked tensors": {"k": torch.stack(keys), "v": torch.stack(values)},
            "a dict of layers": dict(enumerate(pairs)),
            "DynamicCache of 4.57 and 5": SimpleNamespace(layers=[SimpleNamespace(keys=k, values=v) for k, v in pairs]),
            "DynamicCache before": SimpleNamespace(key_cache=list(keys), value_cache=list(values)),
            "objects": [SimpleNamespace(cache_k=k, cache_v=v) for k, v in pairs],
            "a layer that holds nothing yet": [*pairs, SimpleNamespace(keys=None, values=None)],
        }
        for form, held in forms.items():
            with self.subTest(form):
                found = caches.layers(held)
                self.assertEqual(len(found), 3)
                for (k, v), (right_k, right_v) in zip(found, pairs):
                    self.assertTrue(torch.equal(k, right_k) and torch.equal(v, right_v))
        self.assertEqual(caches.layers(None), [])
        with self.assertRaises(plumbline.Cannot):
            caches.layers([1, 2])

    def test_bytes(self):
        whole = torch.zeros(10, 4)
        self.assertEqual(caches.bytes_held([(whole[:2], whole[2:4])]), (64, 160))
        self.assertEqual(caches.bytes_held([(whole, whole), (whole.clone(), torch.zeros(3))]), (160 + 160 + 12,) * 2)

    def test_descriptions(self):
        with self.assertRaisesRegex(ValueError, "axes"):
            plumbline.Cache(axes=("batch", "head"))
        with self.assertRaisesRegex(ValueError, "new="):
            plumbline.Cache(fixed=True)


if __name__ == "__main__":
    unittest.main()
