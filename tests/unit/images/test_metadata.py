import io
import os
import struct
import subprocess
import sys
import zlib

import numpy as np
import pytest
from PIL import ExifTags, Image, ImageCms, PngImagePlugin

from hwkd.images import BrokenImage, pixels_of, read_image
from hwkd.images.metadata import NOT_USABLE

PIXELS = np.random.default_rng(0).integers(0, 256, (8, 16, 3), dtype=np.uint8)
NO_TURN = "its EXIF data cannot be read, and whether it lies upright is not known"


def saved(form="PNG", image=None, **options):
    sink = io.BytesIO()
    (image or Image.fromarray(PIXELS)).save(sink, form, **options)
    return sink.getvalue()


def with_chunk(kind, data, png=None):
    """A PNG with one more chunk behind its header."""
    png = png or saved()
    chunk = struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    return png[:33] + chunk + png[33:]


def read(content):
    return read_image(io.BytesIO(content), name="it")


def text(add):
    info = PngImagePlugin.PngInfo()
    getattr(info, add)("XML:com.adobe.xmp", "x" * 3_000_000, zip=True)
    return saved(pnginfo=info)


def large_profile():
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    return saved(icc_profile=srgb + bytes(3_000_000))


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (lambda: with_chunk(b"eXIf", b"\0\x08\0\x02\x01\x12\0\x03"), NO_TURN),
        (lambda: with_chunk(b"tEXt", b"Raw profile type exif\0\nexif\n 12\nzzzz"), NO_TURN),
        (lambda: text("add_text"), NOT_USABLE),
        (lambda: text("add_itxt"), NOT_USABLE),
        (large_profile, NOT_USABLE),
        # A checksum that is wrong, of a chunk that the pixels do not need.
        (
            lambda: with_chunk(b"gAMA", struct.pack(">I", 45455)).replace(b"gAMA\0\0", b"gAMA\0\1"),
            None,
        ),
    ],
    ids=["exif", "raw profile", "zTXt", "iTXt", "iCCP", "checksum"],
)
def test_damaged_metadata_refuse_no_pixels(content, told):
    if told is None:
        with pytest.raises(BrokenImage):  # this chunk is one of those kept
            read(content())
        return
    found = read(content())
    assert (found.pixels == PIXELS).all() and found.dropped == (told,)


def test_damaged_metadata_of_a_jpeg_refuse_no_pixels():
    plain = saved("JPEG")
    # An index of more pictures (MPF) that begins as one and is none.
    junk = b"MPF\0II*\0\x08\0\0\0" + b"\xff" * 40
    content = plain[:2] + b"\xff\xe2" + struct.pack(">H", len(junk) + 2) + junk + plain[2:]
    assert (read(content).pixels == read(plain).pixels).all()


def test_the_turn_is_taken_although_another_value_is_damaged():
    # An orientation of 3, and a resolution of -1/0, which Pillow cannot write anew.
    exif = b"Exif\0\0II*\0\x08\0\0\0\x02\0" + struct.pack("<HHIHH", 274, 3, 1, 3, 0)
    exif += struct.pack("<HHII", 282, 10, 1, 38) + bytes(4) + struct.pack("<ii", -1, 0)
    turned = read(saved("JPEG", exif=exif))
    assert (turned.pixels == read(saved("JPEG")).pixels[::-1, ::-1]).all()
    assert turned.dropped == ()


def test_a_program_may_hold_an_image_with_a_damaged_value():
    exif = b"Exif\0\0II*\0\x08\0\0\0\x02\0" + struct.pack("<HHIHH", 274, 3, 1, 3, 0)
    exif += struct.pack("<HHII", 282, 2, 4, 0x30307761) + bytes(4)  # a resolution that is a text
    held = Image.open(io.BytesIO(saved("JPEG", exif=exif)))
    turned = read(saved("JPEG")).pixels[::-1, ::-1]
    assert (pixels_of(held) == turned).all()


def test_damaged_pixels_are_refused_with_their_own_reason():
    content = with_chunk(b"tEXt", b"a\0b")
    with pytest.raises(BrokenImage, match="truncated"):
        read(content[:-40])


def exif(tags=(), interop=None):
    found = Image.Exif()
    more = {ExifTags.IFD.Interop: {1: interop}} if interop else {}
    found[ExifTags.IFD.Exif] = {**dict(tags), **more}
    return found


def cicp(primaries, transfer):
    return with_chunk(b"cICP", bytes((primaries, transfer, 0, 1)))


def chromaticities(*values):
    return struct.pack(">8I", *(round(100_000 * v) for v in values))


SRGB_XY = (0.3127, 0.329, 0.64, 0.33, 0.3, 0.6, 0.15, 0.06)
P3_XY = (0.3127, 0.329, 0.68, 0.32, 0.265, 0.69, 0.15, 0.06)


ADOBE_XY = (0.3127, 0.329, 0.64, 0.33, 0.21, 0.71, 0.15, 0.06)
BT2020_XY = (0.3127, 0.329, 0.708, 0.292, 0.17, 0.797, 0.131, 0.046)
D50_P3_XY = (0.3457, 0.3585, *P3_XY[2:])
SRGB_CURVE = (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)
"""As the ICC's parametric curve of type 3 has it."""


def icc(curve, primaries):
    """The bytes of an ICC profile. curve: an exponent, or the parameters of type 3. primaries: x, y of white, R, G, B."""
    white, *of_rgb = (np.array([x, y, 1 - x - y]) / y for x, y in np.reshape(primaries, (4, 2)))
    columns = np.stack(of_rgb, 1)
    bradford = np.array(
        [[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]]
    )
    d50 = np.array([0.9642, 1, 0.8249])
    adapt = np.linalg.inv(bradford) @ np.diag(bradford @ d50 / (bradford @ white)) @ bradford
    to_d50 = adapt @ (columns * np.linalg.solve(columns, white))

    def fixed(*values):
        return b"".join(struct.pack(">i", round(float(v) * 2**16)) for v in values)

    parameters = curve if isinstance(curve, tuple) else (curve,)
    kind = 3 if len(parameters) > 1 else 0
    tags = {
        b"wtpt": b"XYZ " + bytes(4) + fixed(*d50),
        b"desc": b"desc" + bytes(4) + struct.pack(">I", 2) + b"x" + bytes(81),
        b"cprt": b"text" + bytes(4) + b"x" + bytes(3),
    }
    for n, letter in enumerate((b"r", b"g", b"b")):
        tags[letter + b"XYZ"] = b"XYZ " + bytes(4) + fixed(*to_d50[:, n])
        tags[letter + b"TRC"] = (
            b"para" + bytes(4) + struct.pack(">HH", kind, 0) + fixed(*parameters)
        )
    table, body, start = struct.pack(">I", len(tags)), b"", 128 + 4 + 12 * len(tags)
    for name, data in tags.items():
        table += name + struct.pack(">II", start + len(body), len(data))
        body += data + bytes(-len(data) % 4)
    size = struct.pack(">I", start + len(body))
    head = size + b"lcms" + struct.pack(">I", 0x04200000) + b"mntrRGB XYZ " + bytes(12) + b"acsp"
    return head + bytes(28) + fixed(*d50) + bytes(48) + table + body


def adobe_rgb_tiff():
    """A TIFF with the interoperability index R03 where EXIF puts it, two tables below the first."""
    at = len(b"II*\0") + 4
    shape = [(256, 4, 16), (257, 4, 8), (258, 3, 8), (259, 3, 1), (262, 3, 2), (273, 4, 8 + 192)]
    shape += [(277, 3, 3), (278, 4, 8), (279, 4, PIXELS.size), (34665, 4, 8 + 140)]
    body = b"".join(
        table(entries).ljust(size, b"\0")
        for entries, size in ((shape, 140), ([(0xA005, 4, 8 + 170)], 30), ([(1, 2, 0x333052)], 22))
    )
    return b"II*\0" + struct.pack("<I", at) + body + PIXELS.tobytes()


def table(entries):
    """A TIFF's table of (tag, kind, value); a kind of 2 is a text of three letters."""
    held = [struct.pack("<HHII", tag, kind, 4 if kind == 2 else 1, v) for tag, kind, v in entries]
    return struct.pack("<H", len(held)) + b"".join(held) + bytes(4)


def gamma_and_primaries(gamma, *primaries):
    png = with_chunk(b"gAMA", struct.pack(">I", round(100_000 * gamma)))
    return with_chunk(b"cHRM", chromaticities(*primaries), png)


@pytest.mark.parametrize(
    ("content", "space", "what"),
    [
        (
            lambda: with_chunk(b"gAMA", struct.pack(">I", 100_000)),
            (1, SRGB_XY),
            "of gamma 1 (gAMA)",
        ),
        (
            lambda: with_chunk(b"cHRM", chromaticities(*P3_XY)),
            (SRGB_CURVE, P3_XY),
            "of other primaries (cHRM)",
        ),
        (
            lambda: gamma_and_primaries(0.55, *D50_P3_XY),
            (1 / 0.55, D50_P3_XY),
            "of gamma 0.55 (gAMA) and of other primaries (cHRM)",
        ),
        (
            lambda: cicp(9, 13),
            (SRGB_CURVE, BT2020_XY),
            "of H.273's BT.2020 with transfer sRGB (cICP)",
        ),
        (lambda: cicp(12, 8), (1, P3_XY), "of H.273's Display P3 with transfer linear (cICP)"),
        (
            lambda: saved("JPEG", exif=exif(interop="R03")),
            (563 / 256, ADOBE_XY),
            "Adobe RGB by its EXIF data",
        ),
        (
            lambda: saved("WEBP", exif=exif({0xA001: 2}), lossless=True),
            (563 / 256, ADOBE_XY),
            "Adobe RGB by its EXIF data",
        ),
        (
            adobe_rgb_tiff,
            (563 / 256, ADOBE_XY),
            "Adobe RGB by its EXIF data",
        ),
        (
            lambda: saved("AVIF", exif=exif(interop="R03"), quality=100),
            (563 / 256, ADOBE_XY),
            "Adobe RGB by its EXIF data",
        ),
        (
            lambda: saved("PNG", exif=exif({0xA500: 1.0})),
            (1, SRGB_XY),
            "of gamma 1 by its EXIF data",
        ),
        (
            lambda: saved("TIFF", tiffinfo={319: P3_XY[2:]}),
            (SRGB_CURVE, P3_XY),
            "of other primaries (tag 319)",
        ),
    ],
)
def test_colours_that_are_declared_by_numbers_become_srgb(content, space, what):
    """As LittleCMS converts them with a profile that says the same."""
    found = read(content())
    assert found.dropped == (f"colours {what} were converted to sRGB",)
    stored = Image.open(io.BytesIO(content())).convert("RGB")
    profile = ImageCms.ImageCmsProfile(io.BytesIO(icc(*space)))
    transform = ImageCms.buildTransform(profile, ImageCms.createProfile("sRGB"), "RGB", "RGB", 1)
    expected = np.asarray(ImageCms.applyTransform(stored, transform)).astype(int)
    assert np.abs(found.pixels - expected).max() <= 1
    assert np.abs(np.asarray(stored) - expected).max() > 20  # there is something to convert


def test_grey_of_another_gamma_becomes_srgb():
    levels = Image.fromarray(np.arange(256, dtype=np.uint8)[None])
    found = read(with_chunk(b"gAMA", struct.pack(">I", 100_000), saved(image=levels)))
    light = np.arange(256) / 255
    samples = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    assert np.abs(found.pixels[0] - 255 * samples[:, None]).max() <= 0.51


def test_a_profile_counts_before_numbers_but_for_cicp():
    """PNG, third edition, section 4.3."""
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    with_profile = saved(icc_profile=srgb)
    assert read(with_chunk(b"gAMA", struct.pack(">I", 100_000), with_profile)).dropped == ()
    coded = read(with_chunk(b"cICP", bytes((12, 13, 0, 1)), with_profile))
    assert coded.dropped == (
        "colours of H.273's Display P3 with transfer sRGB (cICP) were converted to sRGB",
    )
    avif = saved("AVIF", quality=100, icc_profile=srgb)
    at = avif.find(b"colrnclx")
    assert at > 0
    p3 = avif[: at + 8] + struct.pack(">HH", 12, 13) + avif[at + 12 :]
    assert read(p3).dropped == () and (read(p3).pixels == read(avif).pixels).all()


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (lambda: cicp(9, 16), "of H.273's BT.2020 with transfer PQ (cICP)"),
        (lambda: cicp(22, 13), "of H.273's EBU 3213 with transfer sRGB (cICP)"),
        (
            lambda: saved("WEBP", exif=exif({0xA001: 0xFFFF}), lossless=True),
            "of no known space by its EXIF data",
        ),
        (lambda: v5_bmp(b"DEBM"), "of a colour profile, which BMP's reader does not hand on"),
        (lambda: v5_bmp(bytes(4), 1), "of primaries and gammas of their own (BMP)"),
        # Numbers that make no space.
        (lambda: with_chunk(b"gAMA", struct.pack(">I", 1)), "of gamma 1e-05 (gAMA)"),
        (lambda: with_chunk(b"cHRM", bytes(32)), "of other primaries (cHRM)"),
        (
            lambda: with_chunk(b"cHRM", chromaticities(*4 * (0.3, 0.3))),
            "of other primaries (cHRM)",
        ),
    ],
)
def test_colours_that_cannot_be_converted_are_told(content, what):
    found = read(content())
    assert found.dropped == (f"its colours are {what}, and were taken as sRGB",)
    assert (found.pixels == PIXELS).all()


def test_numbers_of_rgb_beside_other_samples_are_told():
    cmyk = Image.fromarray(PIXELS).convert("CMYK")
    found = read(saved("JPEG", cmyk, exif=exif(interop="R03")))
    assert found.dropped == (
        "CMYK became RGB without a colour profile",
        "its colours are Adobe RGB by its EXIF data, and were taken as sRGB",
    )


@pytest.mark.parametrize(
    "content",
    [
        # What many programs write beside colours that are sRGB.
        lambda: with_chunk(
            b"cHRM", chromaticities(*SRGB_XY), with_chunk(b"gAMA", struct.pack(">I", 45455))
        ),
        lambda: with_chunk(b"sRGB", b"\0", with_chunk(b"gAMA", struct.pack(">I", 100_000))),
        lambda: cicp(1, 13),
        lambda: saved("JPEG", exif=exif({0xA001: 1}, interop="R98")),
        lambda: saved("TIFF", tiffinfo={319: SRGB_XY[2:]}),
        lambda: v5_bmp(b"BGRs"),
        lambda: saved("BMP"),
        lambda: saved("TIFF"),
    ],
)
def test_nothing_is_said_of_srgb(content):
    assert read(content()).dropped == ()


def v5_bmp(space, gamma=0):
    """A BMP with a header of version 5. space: its bV5CSType."""
    plain = saved("BMP")
    pixels = plain[54:]
    header = struct.pack("<I", 124) + plain[18:54] + bytes(16) + space
    header += bytes(36) + struct.pack("<3I", gamma, gamma, gamma) + bytes(16)
    size = 14 + len(header)
    return b"BM" + struct.pack("<IHHI", size + len(pixels), 0, 0, size) + header + pixels


def test_the_space_of_an_avif_is_converted_or_told():
    content = saved("AVIF", quality=100)
    at = content.index(b"colrnclx")
    assert "its colours" not in "".join(read(content).dropped)

    def coded(*numbers):
        return read(content[: at + 8] + struct.pack(">HH", *numbers) + content[at + 12 :]).dropped

    assert coded(12, 13) == (
        "colours of H.273's Display P3 with transfer sRGB were converted to sRGB",
    )
    assert coded(9, 18) == (
        "its colours are of H.273's BT.2020 with transfer HLG, and were taken as sRGB",
    )


def test_a_profile_of_which_a_part_is_missing_is_told():
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    plain, part = saved("JPEG"), b"ICC_PROFILE\0\x01\x02" + profile
    content = plain[:2] + b"\xff\xe2" + struct.pack(">H", len(part) + 2) + part + plain[2:]
    assert read(content).dropped == ("its colour profile cannot be used and was dropped",)


def grey_tiff(samples, photometric, bits):
    """A grey TIFF, which Pillow would write in its own way. samples: bytes."""
    tags = [(256, 4, 4), (257, 4, 1), (258, 3, bits), (259, 3, 1), (262, 3, photometric)]
    tags += [(273, 4, 8 + 2 + 12 * 9 + 4), (277, 3, 1), (278, 4, 1), (279, 4, len(samples))]
    body = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in tags)
    return b"II*\0" + struct.pack("<IH", 8, 9) + body + bytes(4) + samples


@pytest.mark.parametrize("photometric", [0, 1])
@pytest.mark.parametrize("bits", [8, 16])
def test_white_is_zero_at_every_depth(photometric, bits):
    truth = np.array([0, 1, 128, 255])
    stored = truth if photometric == 1 else 255 - truth
    samples = stored.astype("u1") if bits == 8 else (257 * stored).astype("<u2")
    found = read(grey_tiff(samples.tobytes(), photometric, bits))
    assert found.pixels[0, :, 0].tolist() == truth.tolist()


def test_12_bit_grey_is_as_bright_as_it_is():
    # Two samples in three bytes: 0, 16 (of 4095) and 2048, 4095.
    packed = bytes((0x00, 0x00, 0x10, 0x80, 0x0F, 0xFF))
    found = read(grey_tiff(packed, 1, 12))
    assert found.pixels[0, :, 0].tolist() == [0, 1, 128, 255]
    assert "12-bit samples kept their high byte" in found.dropped


def test_lab_becomes_srgb():
    lab = ImageCms.profileToProfile(
        Image.fromarray(PIXELS),
        ImageCms.createProfile("sRGB"),
        ImageCms.createProfile("LAB"),
        outputMode="LAB",
    )
    found = read(saved("TIFF", lab))
    # 8 bits of L*a*b* hold fewer colours of the sRGB gamut.
    assert np.abs(found.pixels.astype(int) - PIXELS).mean() < 3
    assert found.dropped == ("colours were converted from CIE L*a*b* to sRGB",)


def test_no_program_is_started_for_a_picture(tmp_path):
    mark = tmp_path / "started"
    (tmp_path / "gs").write_text(f"#!/bin/sh\ntouch {mark}\n")
    (tmp_path / "gs").chmod(0o755)
    picture = tmp_path / "photo.jpg"
    picture.write_text(
        "%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 50 50\n%%EndComments\nshowpage\n"
    )
    code = (
        "import sys, pathlib; from hwkd.images import read_image, BrokenImage\n"
        "try: read_image(pathlib.Path(sys.argv[1]))\n"
        "except BrokenImage as e: print(e)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, picture],
        env={**os.environ, "PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
    )
    assert "of no kind that is read here" in done.stdout and not mark.exists()
