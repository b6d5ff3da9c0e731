"""What a picture's bytes are, and its canonical form."""

import io
import random
import struct
import zlib

import pytest
from PIL import Image, ImageDraw, ImageOps

from gesso.core.pictures import Facts, PictureFault, Validation
from gesso.files.images import decode, encode_png, inspect

SIDES = tuple(Validation(rule, bound, "") for rule, bound in [("width_pixels>", 384), ("width_pixels<", 5000)])


def file(image: Image.Image, kind: str = "PNG", **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def photo(width: int = 300, height: int = 200) -> Image.Image:
    rough = Image.frombytes("RGB", (12, 8), random.Random(1).randbytes(12 * 8 * 3)).resize((width, height))
    return Image.blend(rough, Image.effect_noise((width, height), 40).convert("RGB"), 0.1)


def drawing(width: int = 512, height: int = 512) -> Image.Image:
    image = Image.new("RGB", (width, height), "white")
    ImageDraw.Draw(image).ellipse((20, 20, 400, 300), fill=(200, 30, 30), outline="black")
    return image


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


@pytest.mark.parametrize(
    ("kind", "name"), [("PNG", "png"), ("JPEG", "jpeg"), ("WEBP", "webp"), ("BMP", "bmp"), ("MPO", "jpeg")]
)
def test_a_format_is_known_by_content(kind, name):
    data = file(drawing(400, 300), kind)

    assert inspect(data) == Facts(name, 400, 300, len(data))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_facts_and_pixels_are_upright(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = file(photo(), exif=exif)
    image, upright = Image.open(io.BytesIO(data)), decode(data)

    assert upright.tobytes() == ImageOps.exif_transpose(image).tobytes()
    assert upright.size == (inspect(data).width, inspect(data).height)
    assert upright.info == {}


@pytest.mark.parametrize("validations", [(), SIDES])
def test_the_rule_that_a_giant_breaks_is_named_before_it_is_too_complex(validations):
    giant = b"RIFF\xff\0\0\0WEBPVP8X\x0a\0\0\0" + bytes(4) + (16_382).to_bytes(3, "little") * 2 + bytes(200)
    with pytest.raises(PictureFault) as fault:
        inspect(giant, validations)

    assert fault.value.type == ("width_pixels<" if validations else "image_too_complex")


@pytest.mark.parametrize(
    ("lossless", "alpha"), [(True, False), (False, False), (True, True), (False, True)]
)  # the three kinds of a WebP header
def test_a_webp_of_any_kind_is_measured(lossless, alpha):
    image = photo(321, 123)
    if alpha:
        image.putalpha(Image.linear_gradient("L").resize(image.size))

    assert inspect(file(image, "WEBP", lossless=lossless)).width == 321


def test_the_size_of_a_file_is_judged_before_anything_in_it():
    with pytest.raises(PictureFault) as fault:
        inspect(bytes(1024 * 1024), (*SIDES, Validation("file_size_mb<", 1, "")))

    assert fault.value.type == "file_size_mb<"


@pytest.mark.parametrize(
    ("image", "colour"),
    [
        (Image.new("RGBA", (8, 8), (255, 0, 0, 0)), (255, 255, 255)),
        (Image.new("RGBA", (8, 8), (0, 0, 0, 128)), (127, 127, 127)),
        (Image.new("LA", (8, 8), (10, 0)), (255, 255, 255)),
        (Image.new("I;16", (8, 8), 0x8000), (128, 128, 128)),
        (Image.new("1", (8, 8), 1), (255, 255, 255)),
    ],
)
def test_transparency_lies_on_white_and_deep_samples_are_scaled(image, colour):
    assert decode(file(image)).getpixel((4, 4)) == colour


def test_sixteen_bits_with_a_transparent_colour_are_no_fault():
    rows = zlib.compress((b"\0" + struct.pack(">HHH", 0xFFFF, 0x8000, 1) * 4) * 4)
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 4, 4, 16, 2, 0, 0, 0)) + chunk(b"tRNS", b"\xff\xff\0\0\0\1")
    data = b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", rows) + chunk(b"IEND", b"")

    assert decode(data).getpixel((0, 0)) == (255, 128, 0)


@pytest.mark.parametrize("image", [photo(), drawing(), photo(1, 1), photo(1, 300), Image.new("L", (5, 5), 7)])
def test_a_png_has_the_very_pixels_and_no_metadata(image):
    image.info = {"icc_profile": b"secret", "exif": b"secret", "dpi": (72, 72), "comment": "secret"}
    data = encode_png(image)
    back = Image.open(io.BytesIO(data))
    back.load()

    assert (back.size, back.tobytes()) == (image.size, image.convert("RGB").tobytes())
    assert back.info == {}


@pytest.mark.parametrize("image", [photo(1024, 1024), drawing(1024, 1024)])
def test_a_png_is_hardly_larger_than_pillows(image):
    assert len(encode_png(image)) < 1.15 * len(file(image)) + 2_000


def test_a_png_carries_the_text_that_it_is_given():
    text = {"prompt": "un café ☕", "Software": "gesso"}

    assert Image.open(io.BytesIO(encode_png(drawing(), text))).text == text
