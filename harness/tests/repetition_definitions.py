"""The measures of repetition, written from the papers' formulas with nothing but counting."""

import collections
import math
import re


def grams(tokens, n):
    return [tuple(tokens[i:i + n]) for i in range(len(tokens) - n + 1)]


def repeated(tokens, n):
    all_of_them = grams(tokens, n)
    return 1 - len(set(all_of_them)) / len(all_of_them) if len(all_of_them) > 1 else None


def among_the_last(context, asked, window, first):
    places = range(first, len(context))
    return sum(asked[i] in context[max(0, i - window):i] for i in places) / len(places) if len(places) else None


def holtzman(tokens):
    """The published procedure: phrases of up to 90 tokens, the one repeated most at the end."""
    backwards, most, phrase = tokens[::-1], 1, 1
    for n in range(1, 91):
        times = 1
        while len(backwards[n * times:n * (times + 1)]) == n and backwards[n * times:n * (times + 1)] == backwards[:n]:
            times += 1
        if times > most:
            most, phrase = times, n
    return float(most > 1 and (phrase >= 3 or most > 50)) if len(tokens) >= 6 else None


def longest_repeat(tokens):
    """By sorting all suffixes."""
    suffixes = sorted(tokens[i:] for i in range(len(tokens)))
    return max((next((k for k, (a, b) in enumerate(zip(one, other)) if a != b), min(len(one), len(other)))
                for one, other in zip(suffixes, suffixes[1:])), default=0)


def loops(tokens):
    """All runs of every period, token by token: (longest, longest that goes on to the end) as (period, begin, end)."""
    found = []
    for period in range(1, len(tokens) // 3 + 1):
        begin = 0
        for i in range(period, len(tokens) + 1):
            if i == len(tokens) or tokens[i] != tokens[i - period]:
                if i - begin >= max(3 * period, 12):
                    found.append((period, begin, i))
                begin = i - period + 1
    longest = [max(some, key=lambda loop: (loop[2] - loop[1], -loop[0]), default=None)
               for some in (found, [loop for loop in found if loop[2] == len(tokens)])]
    return longest


def sentences(text):
    parts = [part.strip() for part in re.split(r"(?<=[.!?。！？…\n])", text)]
    return [part for part in parts if re.search(r"\w", part)]


def zipf(tokens):
    counts = sorted(collections.Counter(tokens).values(), reverse=True)[:5000]
    x, y = [math.log(rank) for rank in range(1, len(counts) + 1)], [math.log(count) for count in counts]
    mean_x, mean_y = sum(x) / len(x), sum(y) / len(y)
    return -sum((a - mean_x) * (b - mean_y) for a, b in zip(x, y)) / sum((a - mean_x) ** 2 for a in x)
