import contextlib
import io
import os
import random
import re
import struct
import subprocess
import threading
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path

import jaxtyping
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor

from quickstudy.core.errors import ConfigError, ImageError, LoadError
from quickstudy.data import image_files
from quickstudy.data.image_files import check_list, picture_endings, picture_size
from quickstudy.data.images import ImageFormat, read_picture

GREY, COLOUR = ImageFormat(8, 1), ImageFormat(8, 3)
MODES = [
    "1",
    "L",
    "P",
    "RGB",
    "RGBA",
    "RGBa",
    "LA",
    "La",
    "PA",
    "CMYK",
    "YCbCr",
    "LAB",
    "HSV",
    "RGBX",
    "I",
    "F",
    "I;16",
    "I;16B",
    "I;16L",
]


def blank(mode: str, size: tuple[int, int], value: int = 0) -> Image.Image:
    """A picture of any mode: some modes can only be reached by conversion."""
    grey = Image.new("L", size, value)
    if mode in ("La", "PA"):
        return (
            grey.convert("LA").convert(mode)
            if mode == "La"
            else grey.convert("RGBA").convert("P").convert("PA")
        )
    if mode == "RGBa":
        return grey.convert("RGBA").convert("RGBa")
    return Image.new(mode, size)


def quarters() -> Image.Image:
    """Red, green / blue, black: every flip and turn of it looks different."""
    pixels = np.zeros((16, 16, 3), dtype=np.uint8)
    pixels[:8, :8, 0] = pixels[:8, 8:, 1] = pixels[8:, :8, 2] = 255
    return Image.fromarray(pixels)


def mean_error(a: Tensor, b: Tensor) -> float:
    return float((a.float() - b.float()).abs().mean())


def png(width: int, height: int, *, bits: int = 1) -> bytes:
    """A black PNG of any size that takes a few bytes and no memory to make."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    packer = zlib.compressobj(9)
    row = bytes(1 + (width * bits + 7) // 8)
    at_once = min(height, max(1, 2**20 // len(row)))
    rows = [row * at_once] * (height // at_once) + [row * (height % at_once)]
    packed = b"".join(map(packer.compress, rows)) + packer.flush()
    header = struct.pack(">IIBBBBB", width, height, bits, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", packed) + chunk(b"IEND", b"")
    )


# --- every kind of picture


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("channels", [1, 3])
def test_every_mode_becomes_8_bit_of_the_right_shape(mode: str, channels: int) -> None:
    out = ImageFormat(5, channels).convert(blank(mode, (7, 9)))
    assert out.shape == (channels, 5, 5)
    assert out.dtype == torch.uint8
    assert out.is_contiguous()


@pytest.mark.parametrize(
    "ending",
    [
        ".png",
        ".jpg",
        ".bmp",
        ".gif",
        ".webp",
        ".tif",
        ".ppm",
        ".tga",
        ".jp2",
        ".ico",
        ".pcx",
        ".qoi",
        ".avif",
    ],
)
def test_every_usual_format_is_read(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"picture{ending}"
    quarters().save(path)
    # the lossy ones smear the edges
    assert mean_error(COLOUR.read(path), COLOUR.convert(quarters())) < 12


@settings(
    deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    mode=st.sampled_from(MODES),
    width=st.integers(1, 40),
    height=st.integers(1, 40),
    # Built in the test: the annotation checker draws random numbers, which hypothesis allows no
    # strategy.
    values=st.tuples(
        st.integers(1, 20),
        st.sampled_from([1, 3]),
        st.booleans(),
        st.sampled_from(["crop", "stretch", "pad"]),
    ),
)
def test_any_size_and_mode_becomes_the_shape_of_the_format(
    mode: str, width: int, height: int, values: tuple[int, int, bool, str]
) -> None:
    fmt = ImageFormat(*values)
    out = fmt.convert(blank(mode, (width, height)))
    assert out.shape == fmt.shape
    assert out.dtype == torch.uint8


def test_grey_becomes_three_equal_channels(tmp_path: Path) -> None:
    Image.linear_gradient("L").save(tmp_path / "grey.png")
    out = COLOUR.read(tmp_path / "grey.png")
    assert torch.equal(out[0], out[1])
    assert torch.equal(out[:1], GREY.read(tmp_path / "grey.png"))


def test_channels_are_red_green_blue(tmp_path: Path) -> None:
    quarters().save(tmp_path / "quarters.png")
    out = COLOUR.read(tmp_path / "quarters.png")
    assert out[:, 0, 0].tolist() == [255, 0, 0]
    assert out[:, 0, 7].tolist() == [0, 255, 0]
    assert out[:, 7, 0].tolist() == [0, 0, 255]


def test_a_picture_of_the_right_size_is_not_changed() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (8, 8), dtype=np.uint8)
    assert np.array_equal(GREY.convert(Image.fromarray(pixels))[0].numpy(), pixels)


def test_invert_swaps_black_and_white() -> None:
    image = Image.linear_gradient("L")
    assert torch.equal(ImageFormat(8, 1, invert=True).convert(image), 255 - GREY.convert(image))


def test_shrinking_averages_instead_of_picking_pixels() -> None:
    stripes = np.zeros((64, 64), dtype=np.uint8)
    stripes[:, ::2] = 255
    assert GREY.convert(Image.fromarray(stripes)).float().sub(127.5).abs().max() < 8


def test_one_bit_pictures_are_smoothed_too() -> None:
    stripes = np.zeros((64, 64), dtype=bool)
    stripes[:, ::2] = True
    assert GREY.convert(Image.fromarray(stripes)).float().sub(127.5).abs().max() < 8


# --- orientation


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("ending", [".jpg", ".png", ".webp", ".tif"])
def test_exif_orientation_is_undone(tmp_path: Path, orientation: int, ending: str) -> None:
    # How a camera held like this stores the picture: the inverse of what the EXIF standard asks the
    # viewer to do.
    stored = {
        1: lambda im: im,
        2: lambda im: im.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
        3: lambda im: im.rotate(180),
        4: lambda im: im.transpose(Image.Transpose.FLIP_TOP_BOTTOM),
        5: lambda im: im.transpose(Image.Transpose.TRANSPOSE),
        6: lambda im: im.rotate(90),
        7: lambda im: im.transpose(Image.Transpose.TRANSVERSE),
        8: lambda im: im.rotate(-90),
    }[orientation](quarters())
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"photo{ending}"
    stored.save(path, exif=exif, **({"lossless": True} if ending == ".webp" else {}))
    assert mean_error(COLOUR.read(path), COLOUR.convert(quarters())) < 12


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_size_is_that_of_the_upright_picture(tmp_path: Path, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    blank("RGB", (40, 20)).save(tmp_path / "turned.jpg", exif=exif)
    for picture in (tmp_path / "turned.jpg", (tmp_path / "turned.jpg").read_bytes()):
        assert picture_size(picture) == read_picture(picture).size


def test_orientation_counts_before_the_crop(tmp_path: Path) -> None:
    wide = Image.new("L", (40, 20), 0)
    wide.paste(255, (0, 0, 10, 20))  # left of the middle square of the wide picture
    exif = Image.Exif()
    exif[0x0112] = 6
    wide.save(tmp_path / "tall.png", exif=exif)
    assert GREY.read(tmp_path / "tall.png").max() < 40
    # white at the top
    assert ImageFormat(8, 1, fit="stretch").read(tmp_path / "tall.png")[0, 0].min() > 200


def test_orientation_of_deep_grey_is_undone(tmp_path: Path) -> None:
    ramp = Image.fromarray(np.tile(np.linspace(0, 65535, 16).astype(np.uint16), (16, 1)))
    exif = Image.Exif()
    exif[0x0112] = 3
    ramp.save(tmp_path / "deep.png", exif=exif)
    assert torch.equal(GREY.read(tmp_path / "deep.png"), GREY.convert(ramp).flip(-1))


def test_broken_exif_does_no_harm(tmp_path: Path) -> None:
    quarters().save(
        tmp_path / "photo.jpg", exif=b"Exif\x00\x00II*\x00\x08\x00\x00\x00\xff\xff\x12\x01"
    )
    assert COLOUR.read(tmp_path / "photo.jpg").shape == (3, 8, 8)


# --- transparency


@pytest.mark.parametrize("mode", ["RGBA", "LA", "PA", "RGBa", "La"])
def test_what_is_transparent_lies_on_white(mode: str) -> None:
    clear = Image.new("RGBA", (8, 8), (0, 0, 0, 0))
    image = clear.convert("LA") if mode in ("LA", "La") else clear
    if mode == "PA":
        image = clear.convert("P").convert("PA")
        image.putalpha(0)
    elif mode in ("RGBa", "La"):
        image = image.convert(mode)
    assert COLOUR.convert(image).min() == 255


def test_half_transparent_is_half_white() -> None:
    assert GREY.convert(Image.new("RGBA", (8, 8), (0, 0, 0, 128)))[0, 0, 0] == 127


def test_edges_of_shrunk_transparent_pictures_have_no_dark_rim() -> None:
    image = Image.new("RGBA", (64, 64), (0, 0, 0, 0))
    image.paste((255, 255, 255, 255), (16, 16, 48, 48))
    assert GREY.convert(image).min() == 255


def test_palette_with_a_transparent_colour(tmp_path: Path) -> None:
    image = quarters().convert("P", palette=Image.Palette.ADAPTIVE, colors=4)
    black = image.getpixel((15, 15))
    image.save(tmp_path / "one.png", transparency=black)
    image.save(tmp_path / "one.gif", transparency=black)
    image.save(
        tmp_path / "each.png", transparency=bytes(0 if i == black else 255 for i in range(4))
    )
    for name in ("one.png", "one.gif", "each.png"):
        out = COLOUR.read(tmp_path / name)
        assert out[:, 7, 7].tolist() == [255, 255, 255]
        assert out[:, 0, 0].tolist() == [255, 0, 0]


@pytest.mark.parametrize(("mode", "clear"), [("L", 0), ("RGB", (0, 0, 0)), ("1", 0)])
def test_png_with_a_transparent_colour_and_no_palette(
    tmp_path: Path, mode: str, clear: object
) -> None:
    Image.new(mode, (8, 8)).save(tmp_path / "keyed.png", transparency=clear)
    assert COLOUR.read(tmp_path / "keyed.png").min() == 255


def test_palette_without_transparency(tmp_path: Path) -> None:
    quarters().convert("P", palette=Image.Palette.ADAPTIVE, colors=4).save(tmp_path / "palette.png")
    assert torch.equal(COLOUR.read(tmp_path / "palette.png"), COLOUR.convert(quarters()))


def test_cmyk_jpeg_has_its_colours(tmp_path: Path) -> None:
    quarters().convert("CMYK").save(tmp_path / "print.jpg", quality=95)
    assert mean_error(COLOUR.read(tmp_path / "print.jpg"), COLOUR.convert(quarters())) < 12


# --- more than 8 bits


@settings(deadline=None, max_examples=40)
@given(
    values=st.lists(st.integers(0, 65535), min_size=8, max_size=8),
    order=st.sampled_from(["<u2", ">u2"]),
)
def test_16_bit_grey_is_scaled_in_order(values: list[int], order: str) -> None:
    image = Image.fromarray(np.tile(np.array(sorted(values), dtype=order), (8, 1)))
    out = GREY.convert(image)[0, 0].tolist()
    assert out == sorted(out)
    step = 257 if max(values) > 4095 else 4095 / 255
    assert all(
        abs(got - v / step) <= 0.5 + 1e-9 for got, v in zip(out, sorted(values), strict=True)
    )


@pytest.mark.parametrize("ending", [".png", ".tif"])
def test_a_camera_of_12_bits_does_not_give_night(tmp_path: Path, ending: str) -> None:
    """LOG m4."""
    ramp = np.tile(np.linspace(0, 4095, 8).astype(np.uint16), (8, 1))
    Image.fromarray(ramp).save(tmp_path / f"deep{ending}")
    seen = GREY.read(tmp_path / f"deep{ending}")[0, 0].tolist()
    assert seen == [0, 36, 73, 109, 146, 182, 219, 255]


def save_16_png(path: Path, values: np.ndarray) -> None:
    Image.fromarray(values).save(path)


def save_16_tiff(path: Path, values: np.ndarray) -> None:
    Image.fromarray(values).save(path)


def save_16_big_tiff(path: Path, values: np.ndarray) -> None:
    Image.fromarray(values.astype(">u2")).save(path)


def save_16_pgm(path: Path, values: np.ndarray) -> None:
    path.write_bytes(
        b"P5 %d %d 65535\n" % (values.shape[1], values.shape[0]) + values.astype(">u2").tobytes()
    )


def save_32_tiff(path: Path, values: np.ndarray) -> None:
    Image.fromarray(values.astype(np.int32)).save(path)


@pytest.mark.parametrize(
    ("ending", "save"),
    [
        (".png", save_16_png),
        (".tif", save_16_tiff),
        (".tif", save_16_big_tiff),
        (".pgm", save_16_pgm),
        (".tif", save_32_tiff),
    ],
)
def test_16_bit_files_are_scaled_not_cut_off(
    tmp_path: Path, ending: str, save: Callable[[Path, np.ndarray], None]
) -> None:
    ramp = np.tile(np.linspace(0, 65535, 8).astype(np.uint16), (8, 1))
    save(tmp_path / f"deep{ending}", ramp)
    row = GREY.read(tmp_path / f"deep{ending}")[0, 0].tolist()
    assert row == [0, 36, 73, 109, 146, 182, 219, 255]


def test_float_grey_between_0_and_1_keeps_its_brightness(tmp_path: Path) -> None:
    Image.fromarray(np.full((8, 8), 0.25, dtype=np.float32)).save(tmp_path / "float.tif")
    assert GREY.read(tmp_path / "float.tif").unique().tolist() == [64]


@pytest.mark.parametrize(
    ("low", "high", "dtype"),
    [(-3.0, 900.0, np.float32), (-3e38, 3e38, np.float32), (-70000, 2**31 - 1, np.int32)],
)
def test_other_grey_is_stretched_from_its_smallest_to_its_largest(
    tmp_path: Path, low: float, high: float, dtype: type
) -> None:
    Image.fromarray(np.tile(np.linspace(low, high, 8).astype(dtype), (8, 1))).save(
        tmp_path / "wide.tif"
    )
    assert GREY.read(tmp_path / "wide.tif")[0, 0].tolist() == [0, 36, 73, 109, 146, 182, 219, 255]


def test_grey_of_one_value_outside_the_usual_range_is_black() -> None:
    assert GREY.convert(Image.fromarray(np.full((8, 8), 7.0, dtype=np.float32))).max() == 0


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_float_grey_that_is_not_finite_is_refused(tmp_path: Path, value: float) -> None:
    values = np.zeros((8, 8), dtype=np.float32)
    values[3, 3] = value
    Image.fromarray(values).save(tmp_path / "bad.tif")
    with pytest.raises(ImageError, match=r"bad\.tif' holds values that are not finite numbers"):
        GREY.read(tmp_path / "bad.tif")


# --- several pictures, and pictures that are not square


@pytest.mark.parametrize("ending", [".gif", ".tif", ".webp", ".png"])
def test_the_first_of_several_pictures_is_read(tmp_path: Path, ending: str) -> None:
    first, second = Image.new("RGB", (16, 16), (255, 0, 0)), Image.new("RGB", (16, 16), (0, 0, 255))
    first.save(tmp_path / f"film{ending}", save_all=True, append_images=[second])
    assert (
        COLOUR.read(tmp_path / f"film{ending}")
        .float()
        .mean((1, 2))
        .sub(torch.tensor([255.0, 0, 0]))
        .abs()
        .max()
        < 3
    )


def wide() -> Image.Image:
    """40 × 20: black, white in the middle square."""
    image = Image.new("L", (40, 20), 0)
    image.paste(255, (10, 0, 30, 20))
    return image


def test_crop_keeps_the_middle() -> None:
    # the filter looks a little over the edge
    assert ImageFormat(10, 1, fit="crop").convert(wide()).min() > 200
    assert (
        ImageFormat(10, 1, fit="crop").convert(wide().transpose(Image.Transpose.ROTATE_90)).min()
        > 200
    )


def test_stretch_keeps_everything() -> None:
    row = ImageFormat(20, 1, fit="stretch").convert(wide())[0, 10]
    assert row[[0, 10, 19]].tolist() == [0, 255, 0]


def test_pad_keeps_everything_and_adds_white() -> None:
    out = ImageFormat(20, 1, fit="pad").convert(wide())[0]
    assert out[[0, 4, 15, 19]].min() == 255
    assert out[10, [0, 10, 19]].tolist() == [0, 255, 0]


def test_padding_is_paper_when_inverted() -> None:
    assert ImageFormat(20, 1, invert=True, fit="pad").convert(wide())[0, 0].max() == 0


@pytest.mark.parametrize("fit", ["crop", "stretch", "pad"])
@pytest.mark.parametrize("size", [(1, 3000), (3000, 1), (1, 1)])
def test_very_thin_pictures(fit: str, size: tuple[int, int]) -> None:
    assert ImageFormat(8, 3, fit=fit).convert(Image.new("RGB", size)).shape == (3, 8, 8)


@pytest.mark.parametrize("fit", ["crop", "stretch", "pad"])
@pytest.mark.parametrize("size", [(1200, 900), (1201, 903), (903, 1201)])
def test_large_jpegs_look_as_when_decoded_in_full(
    tmp_path: Path, fit: str, size: tuple[int, int]
) -> None:
    rng = np.random.default_rng(0)
    photo = Image.fromarray(rng.integers(0, 256, (30, 40, 3), dtype=np.uint8)).resize(
        size, Image.Resampling.BICUBIC
    )
    photo.save(tmp_path / "photo.jpg", quality=95)
    with Image.open(tmp_path / "photo.jpg") as image:
        whole = ImageFormat(84, 3, fit=fit).convert(image)
    assert mean_error(ImageFormat(84, 3, fit=fit).read(tmp_path / "photo.jpg"), whole) < 1


def test_a_picture_in_memory_is_not_changed() -> None:
    image = quarters()
    before = image.tobytes()
    ImageFormat(4, 1, invert=True).convert(image)
    assert image.tobytes() == before
    assert image.size == (16, 16)


# --- what cannot be read


def test_a_text_file_named_png(tmp_path: Path) -> None:
    (tmp_path / "notes.png").write_text("milk, bread")
    with pytest.raises(
        ImageError,
        match=r"notes\.png' is not an image in a format that can be read here.*Export it as PNG "
        r"or JPEG",
    ):
        GREY.read(tmp_path / "notes.png")


@pytest.mark.parametrize(
    ("ending", "options"),
    [(".jpg", {}), (".jpg", {"progressive": True}), (".png", {}), (".gif", {}), (".webp", {})],
)
def test_truncated_files(tmp_path: Path, ending: str, options: dict[str, bool]) -> None:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8))
    buffer = io.BytesIO()
    noise.save(buffer, Image.registered_extensions()[ending], **options)
    path = tmp_path / f"half{ending}"
    path.write_bytes(buffer.getvalue()[: len(buffer.getvalue()) // 2])
    with pytest.raises(
        ImageError,
        match=rf"half\{ending}' is (damaged|not an image).*Pillow says.*Copy or download it again",
    ) as caught:
        COLOUR.read(path)
    assert str(path) in str(caught.value)


def test_an_empty_file(tmp_path: Path) -> None:
    (tmp_path / "empty.png").touch()
    with pytest.raises(ImageError, match=r"empty\.png' is empty \(0 bytes\)"):
        GREY.read(tmp_path / "empty.png")


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"gone\.png' does not exist. Check the path"):
        GREY.read(tmp_path / "gone.png")


def test_a_link_to_nothing(tmp_path: Path) -> None:
    (tmp_path / "link.png").symlink_to(tmp_path / "gone.png")
    with pytest.raises(ImageError, match=r"link\.png' is a link to a file that does not exist"):
        GREY.read(tmp_path / "link.png")


def test_a_link_to_itself(tmp_path: Path) -> None:
    (tmp_path / "loop.png").symlink_to(tmp_path / "loop.png")
    with pytest.raises(ImageError, match=r"loop\.png' cannot be opened"):
        GREY.read(tmp_path / "loop.png")


def test_a_folder_given_as_a_file(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="is a folder where an image file was expected"):
        GREY.read(tmp_path)


def test_a_file_given_as_a_folder(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ImageError, match="cannot be opened"):
        GREY.read(tmp_path / "file" / "a.png")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes on this system")
def test_a_pipe_does_not_hang(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(ImageError, match="is not a regular file"):
        GREY.read(tmp_path / "pipe.png")


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything"
)
def test_a_file_that_may_not_be_read(tmp_path: Path) -> None:
    quarters().save(tmp_path / "secret.png")
    (tmp_path / "secret.png").chmod(0)
    with pytest.raises(ImageError, match=r"secret\.png' may not be read by this user"):
        GREY.read(tmp_path / "secret.png")


@pytest.mark.parametrize(
    "error",
    [
        PermissionError(13, "Permission denied"),
        OSError(5, "Input/output error"),
        ValueError("null byte"),
    ],
)
def test_files_that_the_system_refuses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    quarters().save(tmp_path / "picture.png")

    def refuse(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(
        ImageError,
        match=r"picture\.png' (may not be read by this user \(Permission denied|cannot be opened)",
    ):
        GREY.read(tmp_path / "picture.png")


def test_a_name_with_a_null_byte() -> None:
    with pytest.raises(ImageError, match="cannot be opened"):
        GREY.read("a\0b.png")


def test_20000_by_20000_pixels_are_refused_before_decoding(tmp_path: Path) -> None:
    (tmp_path / "huge.png").write_bytes(png(20_000, 20_000))
    with pytest.raises(
        ImageError,
        match=r"huge\.png' has 400,000,000 pixels, but at most 100,000,000 are read",
    ):
        GREY.read(tmp_path / "huge.png")


def test_sizes_between_ours_and_pillows_limit_say_width_and_height(tmp_path: Path) -> None:
    (tmp_path / "huge.png").write_bytes(png(10_001, 10_000))
    with pytest.raises(
        ImageError, match=r"10,001 × 10,000 = 100,010,000 pixels, but at most 100,000,000"
    ):
        GREY.read(tmp_path / "huge.png")


def test_below_our_limit_pillows_warning_is_not_heard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "large.png").write_bytes(png(100, 100))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 9_000)
    assert GREY.read(tmp_path / "large.png").shape == (1, 8, 8)


def test_the_limit_holds_for_pictures_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_files, "MAX_PIXELS", 99)
    with pytest.raises(
        ImageError, match=r"'the image given' has 10 × 10 = 100 pixels, but at most 99"
    ):
        GREY.convert(Image.new("L", (10, 10)))


def test_a_picture_without_pixels() -> None:
    with pytest.raises(ImageError, match="is 0 × 5 pixels"):
        GREY.convert(Image.new("L", (0, 5)))


def test_formats_that_start_another_program_are_not_read(tmp_path: Path) -> None:
    quarters().save(tmp_path / "drawing.eps")
    with pytest.raises(ImageError, match="is not an image in a format that can be read here"):
        GREY.read(tmp_path / "drawing.eps")
    assert ".eps" not in picture_endings()


@settings(deadline=None, max_examples=150)
@given(
    data=st.binary(max_size=200),
    kind=st.sampled_from(["PNG", "JPEG", "GIF", "TIFF", "WEBP", "BMP", "PPM", "TGA"]),
    at=st.floats(0, 1),
)
def test_damaged_files_give_a_picture_or_an_image_error(data: bytes, kind: str, at: float) -> None:
    buffer = io.BytesIO()
    quarters().save(buffer, kind)
    whole = buffer.getvalue()
    cut = int(at * len(whole))
    try:
        out = COLOUR.decode(
            io.BytesIO(whole[:cut] + data + whole[cut + len(data) :]), name="upload"
        )
    except ImageError as error:
        assert "upload" in str(error)  # noqa: PT017
    else:
        assert out.shape == (3, 8, 8)


@settings(deadline=None, max_examples=100)
@given(st.binary(max_size=100))
def test_random_bytes_give_a_picture_or_an_image_error(data: bytes) -> None:
    with contextlib.suppress(ImageError):
        assert COLOUR.decode(io.BytesIO(data), name="upload").shape == (3, 8, 8)


def test_unexpected_errors_of_pillow_name_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    quarters().save(tmp_path / "picture.png")

    def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(Image, "open", fail)
    with pytest.raises(
        ImageError,
        match=r"picture\.png' is damaged or incomplete \(Pillow says: ZeroDivisionError\)",
    ):
        GREY.read(tmp_path / "picture.png")


def test_running_out_of_memory_is_not_called_damage_and_does_not_stop_a_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    quarters().save(tmp_path / "picture.png")

    def fail(*_: object, **__: object) -> None:
        raise MemoryError

    monkeypatch.setattr(Image.Image, "resize", fail)
    with pytest.raises(ImageError, match=r"picture\.png' needs more memory than there is"):
        GREY.read(tmp_path / "picture.png")


@pytest.mark.parametrize(("width", "height"), [(99_999_999, 1), (1, 99_999_999), (65_536, 2)])
def test_pictures_longer_than_any_camera_makes_are_refused_before_decoding(
    tmp_path: Path, width: int, height: int
) -> None:
    (tmp_path / "line.png").write_bytes(png(width, height))
    with pytest.raises(ImageError, match=r"line\.png' has .* and 65,535 to a side"):
        GREY.read(tmp_path / "line.png")


@pytest.mark.parametrize("ending", [".png", ".jpg"])
def test_only_formats_of_the_list_are_opened_whatever_the_name_says(
    tmp_path: Path, ending: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    quarters().save(tmp_path / "drawing.eps")
    (tmp_path / f"drawing{ending}").write_bytes((tmp_path / "drawing.eps").read_bytes())
    monkeypatch.setattr(subprocess, "Popen", lambda *_, **__: pytest.fail("started a program"))
    with pytest.raises(ImageError, match="not an image in a format that can be read here"):
        COLOUR.read(tmp_path / f"drawing{ending}")
    assert not {"EPS", "WMF", "HDF5", "GRIB", "BUFR", "MPEG", "FITS"} & set(image_files._formats())


def written_to(content: bytes) -> io.BytesIO:
    """An open file, at its end as after writing."""
    file = io.BytesIO()
    file.write(content)
    return file


def test_pictures_in_memory_are_those_in_files(tmp_path: Path) -> None:
    image = quarters()
    image.save(tmp_path / "picture.png")
    array = np.asarray(image)
    expected = COLOUR.read(tmp_path / "picture.png")
    for picture in (
        image,
        str(tmp_path / "picture.png"),
        (tmp_path / "picture.png").read_bytes(),
        written_to((tmp_path / "picture.png").read_bytes()),
        array,
        array / 255.0,
        array.astype(np.float32) / 255,
        torch.from_numpy(array.copy()).permute(2, 0, 1),
    ):
        assert torch.equal(COLOUR.read(picture), expected)
        assert np.array_equal(np.asarray(read_picture(picture)), array)
    grey = np.asarray(image.convert("L"))
    for picture in (grey, grey[..., None], grey == 0):
        assert read_picture(picture).size == image.size


@pytest.mark.parametrize(
    ("picture", "message"),
    [
        (b"abc", "the image given as 3 bytes is not an image"),
        (b"", "is empty"),
        (io.BytesIO(b"abc"), "the image given as 3 bytes is not an image"),
        (io.StringIO("abc"), "gives str, not bytes. Open it with mode 'rb'"),
        (np.full((4, 4), 200.0), "run from 200 to 200. Divide them by 255"),
        (np.full((4, 4), -0.5), "run from -0.5 to -0.5. Undo the normalisation"),
        (np.full((4, 4), np.nan), "not finite"),
        (np.zeros((4, 4), np.int64), "but int64 came, from 0 to 0. Divide them by 255"),
        (np.full((4, 4, 3), 40_000, np.uint16), "from 40000 to 40000.* such as 65535"),
        (np.zeros((5, 4, 7), np.uint8), r"but \[5, 4, 7\] came"),
        (np.zeros((0, 4), np.uint8), "so there is nothing to see"),
    ],
)
def test_what_is_no_picture_in_memory(picture: object, message: str) -> None:
    for read in (COLOUR.read, read_picture):
        with pytest.raises(ImageError, match=message):
            read(picture)


def test_what_is_no_picture_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    for nothing in (None, 3, ["a.png"]):
        with pytest.raises(ImageError, match=f"but {type(nothing).__name__} came"):
            COLOUR.read(nothing)


def test_photos_of_phones_are_read_with_the_extra(tmp_path: Path) -> None:
    pytest.importorskip("pillow_heif")
    assert {".heic", ".heif"} <= picture_endings()
    quarters().resize((64, 64)).save(tmp_path / "photo.heic", quality=95)
    out = COLOUR.read(tmp_path / "photo.heic")
    assert mean_error(out, COLOUR.convert(quarters().resize((64, 64)))) < 12


def test_without_the_extra_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    assert image_files.how_to_read(".txt") == ""
    monkeypatch.setattr(image_files, "picture_endings", lambda: frozenset({".png"}))
    assert image_files.how_to_read(".heic") == "pip install 'quickstudy[heic]'"


def test_damaged_pictures_are_errors_in_words(tmp_path: Path) -> None:
    """More of it: raise the number of rounds; 3,000 take a minute."""
    contents = []
    for ending in (".png", ".jpg", ".gif", ".bmp", ".tif", ".webp"):
        quarters().save(tmp_path / f"picture{ending}")
        contents.append((tmp_path / f"picture{ending}").read_bytes())
    draw = random.Random(0)
    noticed = 0
    for i in range(300):
        damaged = bytearray(contents[i % len(contents)])
        for _ in range(draw.randrange(1, 5)):
            damaged[draw.randrange(len(damaged))] = draw.randrange(256)
        del damaged[draw.choice([len(damaged), draw.randrange(1, len(damaged))]) :]
        try:
            assert COLOUR.read(bytes(damaged)).shape == (3, 8, 8)
        except ImageError:
            noticed += 1
    assert noticed > 100


# --- names, threads, settings


@pytest.mark.parametrize("name", ["two words.png", "Käfer–甲虫 🐞.png", "100%.png", "it's [1].png"])
def test_any_file_name(tmp_path: Path, name: str) -> None:
    quarters().save(tmp_path / name)
    assert COLOUR.read(str(tmp_path / name)).shape == (3, 8, 8)
    (tmp_path / name).write_bytes(b"text")
    with pytest.raises(ImageError, match=re.escape(name).replace("'", ".")):
        COLOUR.read(tmp_path / name)


def test_reading_in_threads_leaves_the_warning_filters_alone(tmp_path: Path) -> None:
    quarters().save(tmp_path / "photo.jpg")
    before = list(warnings.filters)
    threads = [
        threading.Thread(target=lambda: [COLOUR.read(tmp_path / "photo.jpg") for _ in range(20)])
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert warnings.filters == before


def test_an_upload_is_read_as_the_file_is(tmp_path: Path) -> None:
    quarters().save(tmp_path / "photo.jpg")
    upload = io.BytesIO((tmp_path / "photo.jpg").read_bytes())
    assert torch.equal(COLOUR.decode(upload, name="upload"), COLOUR.read(tmp_path / "photo.jpg"))


@settings(deadline=None)
@given(
    values=st.tuples(
        st.integers(1, 10_000),
        st.sampled_from([1, 3]),
        st.booleans(),
        st.sampled_from(["crop", "stretch", "pad"]),
    )
)
def test_json_and_back(values: tuple[int, int, bool, str]) -> None:
    fmt = ImageFormat(*values)
    assert ImageFormat.from_json(fmt.to_json()) == fmt


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"size": 8, "channels": 1, "sise": 3}, "no entry 'sise'. Did you mean 'size'?"),
        ({"size": 8}, "needs the entries channels, got only size"),
        ({"size": "8", "channels": 1}, "'size' of an image format must be of type int, got '8'"),
        ({"size": True, "channels": 1}, "must be of type int, got True"),
        ({"size": 8, "channels": 2}, "cannot be used: Images have channels=1"),
    ],
)
def test_json_that_is_refused(values: dict[str, object], message: str) -> None:
    with pytest.raises(LoadError, match=re.escape(message)):
        ImageFormat.from_json(values)


@pytest.mark.parametrize(
    ("size", "channels", "fit", "message"),
    [
        (0, 3, "crop", "must lie in 1 … 10000, got 0"),
        (10_001, 3, "crop", "must lie in 1 … 10000, got 10001"),
        (8, 2, "crop", "channels=1 (grey) or channels=3 (colour), got 2"),
        (8, 3, "strech", "called 'strech'. Did you mean 'stretch'?"),
    ],
)
def test_formats_that_are_refused(size: int, channels: int, fit: str, message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        ImageFormat(size, channels, fit=fit)


def test_endings() -> None:
    endings = picture_endings()
    assert {".png", ".jpg", ".jpeg", ".gif", ".bmp", ".tif", ".tiff", ".webp"} <= endings
    assert not {".txt", ".pdf", ".h5", ".mpg", ".db"} & endings


# --- a whole picture


def test_a_whole_picture_is_upright_opaque_and_of_eight_bits(tmp_path):
    upright = Image.fromarray(
        np.random.default_rng(0).integers(0, 255, (30, 20, 3), dtype=np.uint8)
    )
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    upright.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "turned.png", exif=exif)
    assert np.array_equal(np.asarray(read_picture(tmp_path / "turned.png")), np.asarray(upright))
    Image.new("RGBA", (4, 4), (255, 0, 0, 0)).save(tmp_path / "clear.png")
    assert np.asarray(read_picture(tmp_path / "clear.png")).min() == 255
    Image.fromarray(np.full((3, 3), 65535, dtype=np.uint16)).save(tmp_path / "deep.png")
    assert np.asarray(read_picture(tmp_path / "deep.png")).tolist() == [[[255] * 3] * 3] * 3
    upright.resize((800, 1200)).save(tmp_path / "large.jpg")
    assert read_picture(tmp_path / "large.jpg").size == (800, 1200)
    assert read_picture(tmp_path / "large.jpg", at_least=200).size == (200, 300)


def test_a_whole_picture_that_cannot_be_read_is_named(tmp_path):
    (tmp_path / "x.png").write_bytes(b"x")
    for path in (tmp_path / "x.png", tmp_path / "none.png", tmp_path):
        with pytest.raises(ImageError, match=re.escape(str(path))):
            read_picture(path)
    whole = tmp_path / "cut.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (90, 90, 3), dtype=np.uint8)).save(
        whole
    )
    whole.write_bytes(whole.read_bytes()[:-500])
    with pytest.raises(ImageError, match="damaged or incomplete"):
        read_picture(whole)


def test_one_picture_is_no_list(tmp_path: Path) -> None:
    for one in ("a.png", tmp_path, b"abc", bytearray(b"abc"), io.BytesIO(b"abc"), quarters()):
        with pytest.raises(ConfigError, match="A list of images was expected, but one came"):
            check_list(one, of="images")
    for several in (["a.png"], (), np.zeros((3, 4, 4))):
        check_list(several, of="images")
