"""The generator that each thread keeps for its draws."""

import hashlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from quickstudy.core.rng import words


def test_threads_do_not_disturb_each_other() -> None:
    alone = [words(50, "thread", i).tolist() for i in range(200)]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda i: words(50, "thread", i).tolist(), range(200))) == alone


def test_words_are_those_of_a_new_philox() -> None:
    key = ("philox", 3)
    digest = hashlib.blake2b(repr(key).encode(), digest_size=16).digest()
    fresh = np.random.Philox(key=int.from_bytes(digest, "little"))
    words(3, "another")
    assert words(9, *key).tolist() == fresh.random_raw(9).tolist()
