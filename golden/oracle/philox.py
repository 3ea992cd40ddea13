"""Philox 4x32-10, the counter-based generator of Salmon, Moraes, Dror and Shaw,
"Parallel random numbers: as easy as 1, 2, 3", SC 2011.

A block is four 32-bit words and depends on nothing but its counter and its key, so any element of any tensor can
be computed alone, in any order, on any machine.
"""

from concurrent.futures import ThreadPoolExecutor
from typing import Callable

import numpy as np

MULTIPLIERS = (np.uint64(0xD2511F53), np.uint64(0xCD9E8D57))
KEY_STEPS = (0x9E3779B9, 0xBB67AE85)  # the golden ratio and the square root of 3, as fractions of 2^32
ROUNDS = 10
LOW = np.uint64(0xFFFFFFFF)
HALF = np.uint64(32)
BLOCKS_AT_ONCE = 1 << 14  # the working set then stays in a core's second-level cache

# Random123's published known answers (kat_vectors): counter, key, output.
KNOWN_ANSWERS = (
    ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    ((0xFFFFFFFF,) * 4, (0xFFFFFFFF,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
    ((0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344), (0xA4093822, 0x299F31D0),
     (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1)),
)


def philox(counter: list[np.ndarray], key: tuple[int, int]) -> list[np.ndarray]:
    """Four arrays of counter words (32-bit values held in uint64, any one shape) to four arrays of output words."""
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(ROUNDS):
        product0 = c0 * MULTIPLIERS[0]
        product1 = c2 * MULTIPLIERS[1]
        c0 = (product1 >> HALF) ^ c1 ^ np.uint64(k0)
        c1 = product1 & LOW
        c2 = (product0 >> HALF) ^ c3 ^ np.uint64(k1)
        c3 = product0 & LOW
        k0 = (k0 + KEY_STEPS[0]) & 0xFFFFFFFF
        k1 = (k1 + KEY_STEPS[1]) & 0xFFFFFFFF
    return [c0, c1, c2, c3]


def words_of_blocks(first: int, count: int, key: tuple[int, int]) -> list[np.ndarray]:
    """The four output words, each (count,), of the blocks first .. first+count-1; counter = (low, high, 0, 0)."""
    block = np.arange(first, first + count, dtype=np.uint64)
    zero = np.zeros(count, dtype=np.uint64)
    return philox([block & LOW, block >> HALF, zero, zero.copy()], key)


def fill(out: np.ndarray, per_block: int, key: tuple[int, int],
         convert: Callable[[list[np.ndarray], int], np.ndarray]) -> np.ndarray:
    """Fills the flat array `out`, `per_block` elements from each block. `convert(words, first)` gets a chunk's words
    and the index of its first element, and returns its elements in order, at least as many as are still to fill."""
    per_chunk = BLOCKS_AT_ONCE * per_block

    def chunk(first: int) -> None:
        wanted = min(per_chunk, out.size - first)
        words = words_of_blocks(first // per_block, -(-wanted // per_block), key)
        out[first:first + wanted] = convert(words, first)[:wanted]

    starts = range(0, out.size, per_chunk)
    if len(starts) < 4:
        for first in starts:
            chunk(first)
    else:
        with ThreadPoolExecutor(max_workers=2) as pool:  # numpy lets go of the interpreter's lock in here
            list(pool.map(chunk, starts))
    return out


def matches_known_answers() -> bool:
    for counter, key, answer in KNOWN_ANSWERS:
        words = philox([np.array([word], dtype=np.uint64) for word in counter], key)
        if tuple(int(word[0]) for word in words) != answer:
            return False
    return True
