import contextlib
import pickle

import numpy as np
import pytest

from quickstudy.core.errors import DataError
from quickstudy.data.plain_pickle import array_of, read_plain_pickle, text_of

IMAGES = np.random.default_rng(0).integers(0, 256, (5, 4, 4, 3), dtype=np.uint8)
CONTENT = {
    "data": IMAGES,
    "labels": [1, 70_000, -4, 10**12],
    "by column": np.asfortranarray(np.arange(12.0).reshape(3, 4)),
    "big-endian": np.arange(5, dtype=">i4"),
    "empty": np.empty((0, 3)),
    "number": np.int64(7),
    "plain": (1, 2.5, True, None, "x", [[1], []]),
    b"raw": b"abc",
    "none": b"",
}


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_plain_data_of_every_protocol(protocol: int) -> None:
    result = read_plain_pickle(pickle.dumps(CONTENT, protocol=protocol), "file")
    assert list(result) == [text_of(key) for key in CONTENT]
    for name in ("data", "by column", "big-endian", "empty"):
        np.testing.assert_array_equal(array_of(result[name], name), CONTENT[name])
    for name in ("labels", "number", "plain"):
        assert result[name] == CONTENT[name]
    assert (text_of(result["raw"]), text_of(result["none"])) == ("abc", "")


def test_what_python_2_wrote() -> None:
    # {'data': numpy.array([[1, 2]], 'u1'), 'labels': [3L]} by Python 2.7, protocol 2
    written = (
        b"\x80\x02}q\x00(U\x04dataq\x01cnumpy.core.multiarray\n_reconstruct\nq\x02cnumpy\nndarray\n"
        b"q\x03K\x00\x85U\x01b\x87Rq\x04(K\x01K\x01K\x02\x86cnumpy\ndtype\nq\x05U\x02u1K\x00K\x01"
        b"\x87Rq\x06(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89U\x02\x01\x02tbU"
        b"\x06labelsq\x07]q\x08\x8a\x01\x03au."
    )
    result = read_plain_pickle(written, "file")
    np.testing.assert_array_equal(array_of(result["data"], "data"), [[1, 2]])
    assert result["labels"] == [3]


class Program:
    def __init__(self, call) -> None:
        self.call = call

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_nothing_that_is_in_a_file_runs(protocol: int, tmp_path) -> None:
    victim = tmp_path / "made"
    content = pickle.dumps({"data": Program((open, (str(victim), "w")))}, protocol=protocol)
    with pytest.raises(DataError, match="could run a program, so it was not read"):
        read_plain_pickle(content, "file")
    assert not victim.exists()
    pickle.loads(content)["data"].close()  # the file does what it says
    assert victim.exists()


@pytest.mark.parametrize(
    "value", [np.array([object()]), {1, 2}, Program((dict, ())), 1j, np.array([(1, 2)], "i4,i4")]
)
def test_what_is_not_plain_is_refused(value) -> None:
    with pytest.raises(DataError, match="no pickle of plain data"):
        read_plain_pickle(pickle.dumps(value, protocol=2), "file")


def test_damage_is_refused_in_words() -> None:
    content = pickle.dumps(CONTENT, protocol=2)
    for length in range(0, len(content), 17):
        with pytest.raises(DataError, match="file is no pickle"):
            read_plain_pickle(content[:length], "file")
    rng = np.random.default_rng(0)
    for _ in range(300):
        damaged = bytearray(content)
        for at in rng.integers(len(content), size=3):
            damaged[at] = rng.integers(256)
        with contextlib.suppress(DataError):  # nothing else may be raised
            read_plain_pickle(bytes(damaged), "file")


def test_what_is_no_array() -> None:
    with pytest.raises(DataError, match="labels must be an array or a list of numbers"):
        array_of(["a", "b"], "labels")
    assert array_of([1, 2], "labels").tolist() == [1, 2]
