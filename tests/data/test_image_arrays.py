import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import Dataset, IterableDataset, TensorDataset

from quickstudy.core.errors import ConfigError, DataError
from quickstudy.core.setting import Setting
from quickstudy.data import ImageArrays, from_dataset

LABELS = [i // 3 for i in range(15)]


def grey() -> np.ndarray:
    """Fifteen images of five classes: image i is all of the value i."""
    return np.broadcast_to(np.arange(15, dtype=np.uint8)[:, None, None], (15, 8, 8)).copy()


class Pictures(Dataset):
    classes = ("ash", "elm", "fir", "oak", "yew")

    def __init__(self, sizes: tuple[int, ...] = (8,)) -> None:
        self.sizes = sizes

    def __len__(self) -> int:
        return 15

    def __getitem__(self, i: int) -> tuple[Image.Image, int]:
        side = self.sizes[i % len(self.sizes)]
        return Image.new("RGB", (side, side), (i, 2 * i, 3 * i)), i // 3


@pytest.mark.parametrize(
    "x",
    [
        grey(),
        grey()[:, None],
        grey()[..., None],
        torch.from_numpy(grey()),
        torch.from_numpy(grey()).float() / 255,
        (grey() / 255.0)[:, None],
    ],
)
def test_images_of_every_layout_give_the_same_tasks(x: np.ndarray) -> None:
    data = ImageArrays(x, LABELS)
    assert data.shape == (1, 8, 8)
    task = data.tasks("train", Setting(2, 1, 1)).batch([0])
    assert task.support.x.shape == (1, 2, 1, 8, 8)
    shown = (task.support.x[0, :, 0, 0, 0] * 255).round().int()  # the number of the image
    same = (task.query.x[0, :, 0, 0, 0] * 255).round().int()
    for value, label in zip(shown.tolist(), task.support.y[0].tolist(), strict=True):
        (partner,) = [
            q for q, y in zip(same.tolist(), task.query.y[0].tolist(), strict=True) if y == label
        ]
        assert value != partner
        assert value // 3 == partner // 3


def test_the_splits_share_no_class_and_can_be_given() -> None:
    by_share = ImageArrays(grey(), LABELS)
    names = [set(by_share.split(s).index.names) for s in ("train", "val", "test")]
    assert set.union(*names) == set("01234")
    assert sum(map(len, names)) == 5
    given = ImageArrays(grey(), LABELS, splits={"train": ["0", "3"], "test": ["1", "2", "4"]})
    assert given.split("test").index.names == ("1", "2", "4")
    with pytest.raises(DataError, match="in both the train and the test split"):
        ImageArrays(grey(), LABELS, splits={"train": ["0", "1"], "test": ["1"]})
    with pytest.raises(DataError, match="has no class '7'"):
        ImageArrays(grey(), LABELS, splits={"train": ["0", "7"]})


def test_colour_is_normalised_channel_by_channel() -> None:
    x = np.zeros((6, 4, 4, 3), np.uint8)
    x[..., 1] = 255
    data = ImageArrays(x, [0, 0, 1, 1, 2, 2], mean=(0.0, 0.5, 0.0), std=(1.0, 0.25, 1.0), val=0)
    task = data.tasks("train", Setting(2, 1, 1)).batch([0])
    assert task.support.x[0, 0, :, 0, 0].tolist() == [0.0, 2.0, 0.0]


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (np.full((4, 8, 8), 200.0), "runs from 200 to 200"),
        (np.full((4, 8, 8), -0.5), "between 0 and 1.* Undo the normalisation"),
        (np.full((4, 8, 8), np.nan), "Of 4 images 4 hold values that are not finite"),
        (np.zeros((4, 8, 8), np.int64), "dtype torch.int64.* Divide them by 255"),
        (np.full((4, 8, 8), 40_000, np.uint16), "from 40000 to 40000.* such as 65535"),
        (np.zeros((8, 8), np.uint8), r"shape \[8, 8\]"),
        (np.zeros((4, 7, 8, 9), np.uint8), "1 or 3 channels"),
        (np.zeros((3, 8, 8), np.uint8), "3 images but y has 4 labels"),
    ],
)
def test_arrays_that_are_no_images(x: np.ndarray, message: str) -> None:
    with pytest.raises(DataError, match=message):
        ImageArrays(x, ["a", "a", "b", "b"])


def test_a_data_set_of_torch_is_a_data_source() -> None:
    data = from_dataset(Pictures())
    assert (data.name, data.shape) == ("pictures", (3, 8, 8))
    every = [n for s in ("train", "val", "test") for n in data.split(s).index.names]
    assert sorted(every) == sorted(Pictures.classes)
    oak = next(s for s in ("train", "val", "test") if "oak" in data.split(s).index.names)
    split = data.split(oak)
    first = split.x[int(split.index.rows_of(split.index.names.index("oak"))[0])]
    assert first[:, 0, 0].tolist() == [9, 18, 27]


def test_tensors_and_arrays_of_a_data_set() -> None:
    pairs = TensorDataset(torch.from_numpy(grey())[:, None], torch.tensor(LABELS))
    data = from_dataset(pairs, splits={"train": list("0123"), "test": ["4"]}, name="mine")
    assert (data.name, data.shape) == ("mine", (1, 8, 8))
    assert data.split("test").x.flatten().unique().tolist() == [12, 13, 14]


def test_pillow_images_of_several_sizes_need_a_size() -> None:
    with pytest.raises(DataError, match=r"image 0 is 8 × 8 × 3 and image 1 is 9 × 9 × 3"):
        from_dataset(Pictures((8, 9)))
    assert from_dataset(Pictures((8, 9)), size=6, channels=1).shape == (1, 6, 6)


def test_what_is_no_data_set_of_pairs() -> None:
    class Stream(IterableDataset):
        def __iter__(self):
            yield from ()

    with pytest.raises(DataError, match="has no length"):
        from_dataset(Stream())
    with pytest.raises(DataError, match="pairs of an image and a label"):
        from_dataset([torch.zeros(1, 8, 8)])
    with pytest.raises(DataError, match="Image 0 is str"):
        from_dataset([("a.png", 0)])
    with pytest.raises(ConfigError, match="5 class names"):
        from_dataset([(torch.zeros(1, 8, 8), 9)], class_names=Pictures.classes)
