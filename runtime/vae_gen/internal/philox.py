"""The seed contract in NumPy: from a seed and an index to the same standard normals on every machine.

Philox4x32-10 (Salmon, Moraes, Dror, Shaw: Parallel Random Numbers: As Easy as 1, 2, 3; SC 2011) turns a counter
of four 32-bit words and a key of two words into four random words. The contract chooses

    key     = (seed mod 2³², seed div 2³²)                         seed  in 0 … 2⁶³−1
    counter = (index mod 2³², index div 2³², block, stream)        index in 0 … 2⁶³−1

so that a picture depends on its seed and its index alone. Block b of stream 0 gives the normals 4b … 4b+3 of a latent,
by the method of Box and Muller (1958). With u(w) = ((w >> 8) + 1) · 2⁻²⁴ in (0, 1] and the four words w0 … w3,

    r = √(−2 ln u(w0)),   the first two normals are r·cos 2πu(w1) and r·sin 2πu(w1);   w2 and w3 give two more alike.

Every generator.onnx contains the same computation as ONNX operators, and the tests compare the two.

>>> [f"{word:08x}" for word in philox4x32(np.zeros(4, np.uint64), np.zeros(2, np.uint64))]
['6627e8d5', 'e169c58d', 'bc57ac4c', '9b00dbd8']
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .._errors import UsageError
from .choice import check_range, whole

LATENT_STREAM = 0
"""The stream of the latents' noise."""
COMPONENT_STREAM, CLASS_STREAM = 1, 2
"""The streams that choose a class, and a component within it, for the fitted prior (`prior`)."""
DETAIL_STREAM = 3
"""The stream of the detail stage's noise (`latents`)."""

MOST_BLOCKS = 2**34
"""The most blocks of words at once: 550 GB, which few machines have."""

MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
KEY_STEPS = (0x9E3779B9, 0xBB67AE85)
ROUNDS = 10
WORD_MASK = 0xFFFFFFFF


def philox4x32(counter: NDArray[np.uint64], key: NDArray[np.uint64]) -> NDArray[np.uint32]:
    """Computes four random words from each counter, uint32 [..., 4].

    Args:
        counter: uint64 [..., 4], each word below 2³².
        key: uint64 [..., 2], each word below 2³²; its leading axes broadcast against the counter's.
    """
    mask = np.uint64(WORD_MASK)
    c0, c1, c2, c3 = (counter[..., word] for word in range(4))
    k0, k1 = key[..., 0], key[..., 1]
    for _ in range(ROUNDS):
        product0 = c0 * np.uint64(MULTIPLIERS[0])  # both factors below 2³², so uint64 holds it exactly
        product1 = c2 * np.uint64(MULTIPLIERS[1])
        c0, c1, c2, c3 = (
            (product1 >> np.uint64(32)) ^ c1 ^ k0,
            product1 & mask,
            (product0 >> np.uint64(32)) ^ c3 ^ k1,
            product0 & mask,
        )
        k0 = (k0 + np.uint64(KEY_STEPS[0])) & mask
        k1 = (k1 + np.uint64(KEY_STEPS[1])) & mask
    return np.stack([c0, c1, c2, c3], axis=-1).astype(np.uint32)


def random_words(seed: int, start: int, count: int, blocks: int, stream: int = LATENT_STREAM) -> NDArray[np.uint32]:
    """Random 32-bit words for the indices start … start+count−1 of a seed, uint32 [count, blocks, 4].

    Args:
        seed: 0 … 2⁶³−1.
        start: the first index, 0 … 2⁶³−1.
        count: the number of indices, at least 1; start + count may reach 2⁶³.
        blocks: the number of blocks for each index; a block is four words.
        stream: 0 … 2³²−1; streams of the same seed are independent.

    Raises:
        UsageError: a number is out of its range.

    >>> random_words(7, start=0, count=3, blocks=2).shape
    (3, 2, 4)
    """
    seed, start, count = whole("a seed", seed), whole("a start", start), whole("a count", count)
    check_range(seed, start, count)
    blocks, stream = whole("blocks", blocks, 1, WORD_MASK), whole("stream", stream, 0, WORD_MASK)
    if count * blocks > MOST_BLOCKS:
        raise UsageError("expected a number of random words that fits into memory, got more; ask for a part of them")
    index = np.uint64(start) + np.arange(count, dtype=np.uint64)
    counter = np.empty((count, blocks, 4), np.uint64)
    counter[..., 0] = (index & np.uint64(WORD_MASK))[:, None]
    counter[..., 1] = (index >> np.uint64(32))[:, None]
    counter[..., 2] = np.arange(blocks, dtype=np.uint64)
    counter[..., 3] = stream
    return philox4x32(counter, np.array([seed & WORD_MASK, seed >> 32], np.uint64))


def standard_normals(
    seed: int, start: int, count: int, dimensions: int, stream: int = LATENT_STREAM
) -> NDArray[np.float32]:
    """Standard normals for the indices start … start+count−1 of a seed, float32 [count, dimensions].

    On stream 0 they are the latents of the normal prior. They agree with those of generator.onnx to 1e-5.

    Args:
        seed: as in `random_words`.
        start: as in `random_words`.
        count: as in `random_words`.
        dimensions: how many normals each index gets, at least 1.
        stream: as in `random_words`.

    Raises:
        UsageError: a number is out of its range.

    >>> [f"{normal:.1f}" for normal in standard_normals(7, start=1, count=1, dimensions=3)[0]]
    ['0.4', '-1.3', '1.8']
    """
    dimensions = whole("dimensions", dimensions, 1)
    words = random_words(seed, start, count, -(-dimensions // 4), stream)  # [count, blocks, 4]
    uniform = ((words >> np.uint32(8)).astype(np.float32) + np.float32(1)) * np.float32(2**-24)
    radius = np.sqrt(np.float32(-2) * np.log(uniform[..., 0::2]))  # [count, blocks, 2]
    angle = np.float32(2 * np.pi) * uniform[..., 1::2]
    normals = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=-1)  # [count, blocks, 2, 2]
    return normals.reshape(count, -1)[:, :dimensions]
