"""What the embedded engine does to pictures: the law of each operator, on small synthetic ones and on the samples."""

import json
import subprocess
import sys

import cv2
import numpy as np
import pytest
from PIL import Image

from gesso.core.errors import EngineFailed, Stopped
from gesso.core.inputs import Inputs, Size
from gesso.engines.embedded import EmbeddedEngine, lettering, stylise, tone
from gesso.engines.embedded.pixels import from_image, luma
from gesso.engines.embedded.recolour import transport
from gesso.engines.embedded.subject import without_spill
from gesso.samples import NAMES, sample

SMALL = Size(192, 160)
PRESETS = [
    Size(1024, 1024),
    Size(800, 1200),
    Size(1200, 800),
    Size(960, 1280),
    Size(1280, 960),
    Size(720, 1280),
    Size(1280, 720),
    Size(1344, 576),
]
FORBIDDEN = {"url", "path", "image", "images", "video", "videos", "audio"}


@pytest.fixture(scope="module")
def engine():
    engine = EmbeddedEngine()
    engine.load()
    yield engine
    engine.close()


@pytest.fixture
def make(engine):
    def make(prompt, *images, size=SMALL, seed=0, negative_prompt="", expand_prompt=False, report=lambda *_: None):
        return engine.run(Inputs(tuple(images), prompt, negative_prompt, size, seed, expand_prompt), report)

    return make


@pytest.fixture
def edit(make):
    """The pixels that *make* makes."""
    return lambda *args, **kwargs: from_image(make(*args, **kwargs).images[0])


def photo(name="coffee", size=SMALL):
    return Image.open(sample(name).open("rb")).convert("RGB").resize((size.width, size.height))


def plain(colour, size=SMALL):
    return Image.new("RGB", (size.width, size.height), colour)


def disc():
    """A red disc on a plain green ground."""
    image = np.full((160, 192, 3), (40, 150, 60), np.uint8)
    return Image.fromarray(cv2.circle(image, (96, 80), 45, (200, 40, 30), -1))


def colourfulness(pixels):
    return float((pixels.max(axis=2) - pixels.min(axis=2)).mean())


def detail(pixels):
    return float(np.abs(cv2.Laplacian(luma(pixels), cv2.CV_32F)).mean())


# the frame and the engine's promises


@pytest.mark.parametrize("size", PRESETS, ids=str)
def test_every_preset_is_met_exactly(make, size):
    made = make("mirror, sepia", photo("rocket"), size=size).images[0]

    assert (made.size, made.mode) == ((size.width, size.height), "RGB")


@pytest.mark.parametrize("source", [(384, 5000), (5000, 384), (385, 997), (1024, 1024), (1, 1)])
@pytest.mark.parametrize("prompt", ["", "the whole picture", "zoom in", "rotate 90 degrees"])
def test_any_shape_of_reference_fills_the_frame(make, source, prompt):
    made = make(prompt, Image.new("RGB", source, (200, 60, 60)), size=Size(136, 58))

    assert made.images[0].size == (136, 58)
    assert np.asarray(made.images[0])[29, 68].tolist() == [200, 60, 60]


def test_nothing_asked_is_a_faithful_reframing_with_a_warning(make):
    made = make("two monsters", photo())

    assert np.abs(from_image(made.images[0]) - from_image(photo())).max() < 0.01
    assert "no_operator_matched" in made.notes["warnings"]


def test_without_an_image_the_engine_fails_and_says_what_is_missing(make):
    with pytest.raises(EngineFailed, match="at least one image"):
        make("pencil sketch")


def test_each_step_is_reported_in_turn(make):
    steps = []
    made = make("sepia, add snow, flip horizontally", photo(), report=lambda *step: steps.append(step))

    assert steps == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert [step["operator"] for step in made.notes["plan"]] == ["frame", "mirror", "sepia", "snow"]


def test_a_stop_passes_through_and_the_engine_stays_usable(make):
    def stop(step, of, preview=None):
        raise Stopped

    with pytest.raises(Stopped):
        make("sepia", photo(), report=stop)
    assert make("sepia", photo()).images[0].size == (SMALL.width, SMALL.height)


EVERYTHING = (
    "image 1 in the colours of image 2, mirror, blur the background, make the red cup blue, warm, glow, "
    'vignette, watercolour, add fog and rain and snow, add the text "HI"'
)


@pytest.mark.parametrize(
    "prompt", [EVERYTHING, "left and right", "put image 1 on image 2", "double exposure", "picture in picture", "zebra"]
)
def test_notes_hold_plain_json_and_nothing_that_names_a_file(make, prompt):
    notes = make(prompt, photo(), photo("cat"), expand_prompt=True).notes
    keys = set(notes).union(*(step for step in notes["plan"]))

    assert json.loads(json.dumps(notes))["prompt_used"].startswith("First ")
    assert not keys & FORBIDDEN
    assert "://" not in json.dumps(notes)


def test_the_prompt_as_used_is_told_only_on_request(make):
    assert "prompt_used" not in make("sepia", photo()).notes


def test_the_same_seed_gives_the_same_bytes_in_another_process(make):
    script = (
        "import hashlib, sys; from PIL import Image; from gesso.core.inputs import Inputs, Size;"
        "from gesso.engines.embedded import EmbeddedEngine; from gesso.samples import sample;"
        "engine = EmbeddedEngine(); engine.load();"
        "images = tuple(Image.open(sample(n).open('rb')).convert('RGB').resize((192, 160)) for n in ('coffee', 'cat'));"
        "made = engine.run(Inputs(images, sys.argv[1], '', Size(192, 160), 5), lambda *_: None);"
        "print(made.images[0].tobytes().hex())"
    )
    other = subprocess.run(
        [sys.executable, "-c", script, EVERYTHING], capture_output=True, text=True, check=True
    ).stdout

    assert make(EVERYTHING, photo(), photo("cat"), seed=5).images[0].tobytes().hex() == other.strip()


@pytest.mark.parametrize(
    "prompt", ["add snow", "add rain", "fog", "film grain", "image 1 on the left, image 2 on the right"]
)
def test_another_seed_gives_another_picture_and_the_same_seed_the_same(edit, prompt):
    images = photo("rocket"), photo("cat")
    first, again, other = (edit(prompt, *images, seed=seed) for seed in (1, 1, 2))

    assert (first == again).all()
    assert (first != other).any()


@pytest.mark.parametrize("operator", sorted({*tone.TONES, *stylise.STYLES}))
def test_no_operator_leaves_the_range_or_forgets_the_shape(operator):
    for pixels in (from_image(photo()), np.zeros((37, 53, 3), np.float32), np.ones((37, 53, 3), np.float32)):
        result = (tone.TONES | stylise.STYLES)[operator](pixels, 1.5)

        assert result.shape == pixels.shape
        assert result.dtype == np.float32
        assert np.isfinite(result).all()
        assert result.min() >= 0
        assert result.max() <= 1.0001


# composition


@pytest.mark.parametrize(
    ("prompt", "first", "second"),
    [
        ("one on the left, another on the right", np.s_[:, :80], np.s_[:, -80:]),
        ("one at the top, one at the bottom", np.s_[:60], np.s_[-60:]),
        ("side by side", np.s_[:, :80], np.s_[:, -80:]),
        ("слева изображение 2, справа изображение 1", np.s_[:, -80:], np.s_[:, :80]),
    ],
)
def test_each_part_of_a_composition_is_like_its_own_reference(edit, prompt, first, second):
    made = edit(prompt, plain((220, 40, 40)), plain((40, 60, 210)))

    assert np.abs(made[first] - np.array([220, 40, 40]) / 255).max() < 0.05
    assert np.abs(made[second] - np.array([40, 60, 210]) / 255).max() < 0.05


def test_a_soft_seam_has_no_step(edit):
    made = edit(
        "one on the left, another on the right", plain((220, 40, 40)), plain((40, 60, 210)), size=Size(512, 256)
    )

    assert np.abs(np.diff(made, axis=1)).max() < 0.15


def test_three_references_stand_in_three_columns(edit):
    made = edit("three columns", plain((200, 0, 0)), plain((0, 200, 0)), plain((0, 0, 200)))

    assert [int(made[80, x].argmax()) for x in (20, 96, 170)] == [0, 1, 2]


def test_an_inset_lies_in_the_corner_of_the_first_reference(edit):
    made = edit("picture in picture", plain((200, 0, 0)), plain((0, 0, 200)))

    assert int(made[20, 20].argmax()) == 0
    assert int(made[130, 160].argmax()) == 2


def test_a_subject_is_set_on_the_other_background_without_its_own(edit):
    made = edit("put the disc of image 1 on the background of image 2", disc(), plain((30, 60, 200)))
    green = (made[..., 1] > made[..., 0] + 0.1) & (made[..., 1] > made[..., 2] + 0.1)

    assert int(made[90, 96].argmax()) == 0
    assert int(made[5, 5].argmax()) == 2
    assert green.mean() < 0.002


def test_the_edge_of_a_subject_loses_the_colour_of_its_old_background():
    matte = cv2.GaussianBlur(np.asarray(disc())[..., 0].astype(np.float32) / 160, (0, 0), 2).clip(0, 1)
    matte = np.where(matte < 0.3, 0, matte).astype(np.float32)
    clean = without_spill(from_image(disc()), matte)
    edge = (matte > 0.4) & (matte < 0.9)

    assert edge.any()
    assert (clean[edge][:, 0] > clean[edge][:, 1]).mean() > (
        from_image(disc())[edge][:, 0] > from_image(disc())[edge][:, 1]
    ).mean()


# colour


def test_transport_gives_the_mean_and_the_covariance_of_the_style():
    rng = np.random.default_rng(1)
    image = np.clip(rng.normal((0.5, 0.4, 0.5), (0.06, 0.05, 0.07), (90, 90, 3)), 0, 1).astype(np.float32)
    mixed = rng.normal(0, 1, (80, 80, 3)) @ np.array([[0.05, 0.02, 0], [0, 0.04, 0.03], [0.02, 0, 0.06]])
    style = np.clip(mixed + np.array([0.45, 0.55, 0.4]), 0, 1).astype(np.float32)
    moved = transport(image, style)

    assert moved.mean(axis=(0, 1)) == pytest.approx(style.mean(axis=(0, 1)), abs=0.005)
    assert np.cov(moved.reshape(-1, 3).T) == pytest.approx(np.cov(style.reshape(-1, 3).T), abs=0.0004)


def test_transport_to_its_own_colours_changes_nothing():
    image = from_image(photo("cat"))

    assert np.abs(transport(image, image) - image).max() < 0.01


def test_a_picture_in_the_colours_of_another_comes_nearer_to_it(edit):
    cat, rocket = photo("cat"), photo("rocket")
    made = edit("image 1 in the colours of image 2", cat, rocket)
    goal = from_image(rocket).mean(axis=(0, 1))

    assert np.linalg.norm(made.mean(axis=(0, 1)) - goal) < 0.3 * np.linalg.norm(
        from_image(cat).mean(axis=(0, 1)) - goal
    )


def test_recolouring_reaches_what_is_named_and_nothing_else(edit):
    before, made = from_image(disc()), edit("make the red disc blue", disc())

    assert int(made[80, 96].argmax()) == 2
    assert np.abs(made[:20] - before[:20]).max() < 0.02


def test_a_tint_keeps_the_brightness_and_moves_the_colour(edit):
    before, made = from_image(photo("cat")), edit("tint it green", photo("cat"))

    assert abs(float(luma(made).mean() - luma(before).mean())) < 0.06
    assert int(made.mean(axis=(0, 1)).argmax()) == 1


# tone


@pytest.mark.parametrize(
    ("prompt", "measure", "sign"),
    [
        ("brighter", lambda p: p.mean(), 1),
        ("darker", lambda p: p.mean(), -1),
        ("at night", lambda p: p.mean(), -1),
        ("more contrast", lambda p: luma(p).std(), 1),
        ("less contrast", lambda p: luma(p).std(), -1),
        ("vivid", colourfulness, 1),
        ("muted", colourfulness, -1),
        ("warmer", lambda p: (p[..., 0] - p[..., 2]).mean(), 1),
        ("cooler", lambda p: (p[..., 0] - p[..., 2]).mean(), -1),
        ("at sunset", lambda p: (p[..., 0] - p[..., 2]).mean(), 1),
        ("blur", detail, -1),
        ("sharpen", detail, 1),
        ("glow", lambda p: p.mean(), 1),
        ("vignette", lambda p: p[:20, :20].mean() - p[70:90, 86:106].mean(), -1),
        ("fog", lambda p: luma(p).std(), -1),
        ("watercolour", detail, -1),
        ("cartoon", colourfulness, 1),
        ("ink drawing", lambda p: luma(p).std(), 1),
    ],
)
def test_an_operator_moves_what_its_name_says(edit, prompt, measure, sign):
    before, made = from_image(photo("cat")), edit(prompt, photo("cat"))

    assert sign * (measure(made) - measure(before)) > 0.005 * abs(measure(before))


def test_a_strong_word_moves_further_than_a_weak_one(edit):
    weak, plain_, strong = (edit(f"{word} brighter", photo("cat")).mean() for word in ("slightly", "", "much"))

    assert weak < plain_ < strong


@pytest.mark.parametrize("prompt", ["black and white", "pencil sketch"])
def test_what_is_grey_by_name_is_grey(edit, prompt):
    assert colourfulness(edit(prompt, photo())) < 0.01


def test_sepia_is_brown_throughout(edit):
    made = edit("sepia", photo("cat"))

    assert (made[..., 0] >= made[..., 1]).all()
    assert (made[..., 1] >= made[..., 2]).all()


# drawing and painting


def test_pencil_is_mostly_paper_with_more_lines_than_the_photograph_has(edit):
    before, made = from_image(photo()), edit("pencil sketch", photo())

    assert detail(made) > 1.5 * detail(before)
    assert float(np.median(made)) > 0.65


def test_pixel_art_consists_of_few_colours_in_squares(edit):
    made = edit("pixel art", photo(), size=Size(440, 440))
    colours = {tuple(colour) for colour in (made.reshape(-1, 3) * 255).round().astype(int)}

    assert len(colours) <= 28
    assert (made[::4, ::4] == made[1::4, 1::4]).all()


def test_a_poster_has_few_flat_colours():
    made = (stylise.poster(from_image(photo(size=Size(400, 400))), 1.0) * 255).round().astype(int).reshape(-1, 3)
    _, counts = np.unique(made, axis=0, return_counts=True)

    assert np.sort(counts)[-7:].sum() > 0.7 * len(made)


def test_halftone_keeps_the_brightness_of_the_picture(edit):
    before, made = from_image(photo("cat")), edit("halftone", photo("cat"))

    assert abs(float(luma(made).mean() - luma(before).mean())) < 0.1


# background, geometry, weather


def shaded(width=320, height=160):
    """A sky that grows lighter to the ground, and the ground."""
    x, y = np.mgrid[0:height, 0:width][::-1].astype(np.float32)
    sky = np.dstack([20 + 60 * y / height, 40 + 70 * y / height, 90 + 80 * y / height + 10 * x / width])
    return np.clip(sky, 0, 255).astype(np.uint8)


def test_a_subject_stands_out_from_a_sky_that_is_lighter_below(make):
    image = shaded()
    cv2.rectangle(image, (150, 50), (172, 159), (230, 225, 210), -1)
    made = make("on a yellow background", Image.fromarray(image), size=Size(320, 160))
    pixels = from_image(made.images[0])

    assert made.notes["warnings"] == []
    assert pixels[10, 10, 0] > 2 * pixels[10, 10, 2]
    assert pixels[140, 300, 0] > 2 * pixels[140, 300, 2]
    assert np.abs(pixels[100, 161] - np.array([230, 225, 210]) / 255).max() < 0.05


def test_the_rocket_is_found_in_its_evening_sky(make):
    image = Image.open(sample("rocket").open("rb")).convert("RGB")

    assert make("on a yellow background", image, size=Size(512, 512)).notes["warnings"] == []


def test_a_subject_that_the_crop_cuts_through_is_found_in_the_whole_picture(make):
    image = np.full((160, 480, 3), (40, 150, 60), np.uint8)
    cv2.ellipse(image, (240, 84), (150, 60), 0, 0, 360, (200, 40, 30), -1)  # wider than the square that is cut out
    made = make("on a white background", Image.fromarray(image), size=Size(160, 160))
    pixels = from_image(made.images[0])

    assert made.notes["warnings"] == []
    assert pixels[5, 80].min() > 0.75
    assert all(pixels[84, x, 0] > 0.6 and pixels[84, x, 1] < 0.3 for x in (4, 80, 155))


def test_the_matte_turns_with_its_picture(make):
    image = np.full((160, 160, 3), (40, 150, 60), np.uint8)
    cv2.circle(image, (50, 60), 28, (200, 40, 30), -1)
    pixels = from_image(make("flip horizontally, on a white background", Image.fromarray(image), size=SMALL).images[0])

    assert pixels[72, 192 - 60, 0] > 2 * pixels[72, 192 - 60, 1]
    assert pixels[72, 30].min() > 0.8


@pytest.mark.parametrize(("colour", "channel", "least"), [("blue", 2, 0.28), ("orange", 0, 0.4), ("green", 1, 0.15)])
def test_a_subject_of_little_colour_is_dyed_as_a_whole(make, colour, channel, least):
    image = Image.open(sample("cat").open("rb")).convert("RGB")
    pixels = from_image(make(f"make the cat {colour}", image, size=Size(256, 256)).images[0])
    middle = pixels[90:200, 60:200]

    assert (middle.argmax(axis=2) == channel).mean() > 0.8
    assert colourfulness(middle) > least


def test_a_red_cup_on_red_wood_is_the_one_that_is_meant(edit):
    image = Image.open(sample("coffee").open("rb")).convert("RGB")
    before, after = edit("", image, size=Size(384, 384)), edit("make the red cup blue", image, size=Size(384, 384))
    wood, saucer = (slice(20, 90), slice(330, 380)), (slice(240, 260), slice(40, 70))

    assert np.abs(after[wood] - before[wood]).mean() < 0.02
    assert (after[saucer].argmax(axis=2) == 2).mean() > 0.9


def test_a_gradient_of_one_colour_runs_out_pale(edit):
    pixels = edit("gradient background from teal", disc())

    assert luma(pixels)[-4:, :8].mean() > luma(pixels)[:4, :8].mean() + 0.2
    assert pixels[-4:, :8, 0].mean() < pixels[-4:, :8, 1].mean()


def test_a_plain_background_replaces_everything_but_the_subject(edit):
    made = edit("on a white background", disc())

    assert made[5, 5].min() > 0.85
    assert int(made[80, 96].argmax()) == 0
    assert made[80, 96].max() - made[80, 96].min() > 0.4


def test_a_gradient_background_runs_from_the_first_colour_to_the_second(edit):
    made = edit("gradient background from red to blue", disc())

    assert (int(made[3, 3].argmax()), int(made[-4, -4].argmax())) == (0, 2)


def test_a_blurred_background_leaves_the_subject_sharp(edit):
    noise = np.random.default_rng(3).integers(-25, 25, (160, 192, 1))
    noisy = Image.fromarray(np.clip(np.asarray(disc()).astype(int) + noise, 0, 255).astype(np.uint8))
    made = edit("blur the background", noisy, size=SMALL)
    before = from_image(noisy)

    assert detail(made[:20]) < 0.3 * detail(before[:20])
    assert detail(made[65:95, 80:112]) > 0.8 * detail(before[65:95, 80:112])


def test_a_subject_that_cannot_be_told_is_owned_up_to(make):
    flat = Image.fromarray(np.random.default_rng(0).integers(0, 255, (160, 192, 3), np.uint8))

    assert "subject_uncertain" in make("on a white background", flat).notes["warnings"]


@pytest.mark.parametrize(
    ("prompt", "turned"),
    [
        ("flip horizontally", lambda p: p[:, ::-1]),
        ("flip vertically", lambda p: p[::-1]),
        ("rotate 180 degrees", lambda p: p[::-1, ::-1]),
        ("rotate 90 degrees", lambda p: np.rot90(p, -1)),
        ("rotate left", lambda p: np.rot90(p, 1)),
    ],
)
def test_geometry_is_exact(edit, prompt, turned):
    square = Size(160, 160)

    assert (edit(prompt, photo(size=square), size=square) == turned(from_image(photo(size=square)))).all()


def test_a_quarter_turn_still_fills_the_frame_without_distortion(edit):
    lying = disc().rotate(90, expand=True)
    made = edit("rotate 90 degrees", lying)

    assert np.abs(made - from_image(lying.rotate(-90, expand=True))).max() < 0.01


@pytest.mark.parametrize("prompt", ["heavy snow", "heavy rain"])
def test_heavy_weather_covers_more_than_light_weather(edit, prompt):
    dark = plain((40, 50, 70))
    light = edit(prompt.replace("heavy", "light"), dark)

    assert (luma(edit(prompt, dark)) > 0.4).mean() > 1.3 * (luma(light) > 0.4).mean() > 0


# text


@pytest.mark.parametrize(("place", "rows"), [("top", np.s_[:60]), ("bottom", np.s_[-60:]), ("centre", np.s_[50:110])])
def test_text_changes_pixels_in_its_band_only(edit, place, rows):
    before, made = from_image(photo("cat")), edit(f'add the text "HELLO" at the {place}', photo("cat"))
    changed = np.abs(made - before).max(axis=2) > 0.01

    assert changed[rows].mean() > 0.05
    assert changed.sum() == changed[rows].sum()


def test_text_in_a_named_colour_is_drawn_in_it(edit):
    made = edit('write "HELLO" in large red letters', plain((240, 240, 240)))

    assert ((made[..., 0] - made[..., 2]) > 0.5).mean() > 0.012


def test_letters_that_no_font_has_are_told_and_no_box_is_drawn(make, monkeypatch):
    monkeypatch.setattr(lettering, "FONTS", ())
    made = make("「こんにちは」と書いて", photo("cat"))

    assert "text_not_drawn" in made.notes["warnings"]
    assert np.abs(from_image(made.images[0]) - from_image(photo("cat"))).max() < 0.01


def test_a_long_text_is_broken_and_stays_inside(edit):
    text = "The quick brown fox jumps over the lazy dog and then goes home to sleep"
    made = edit(f'add the text "{text}" at the top in red', plain((240, 240, 240)))
    red = (made[..., 0] - made[..., 2]) > 0.5

    assert red.any()
    assert not red[:, :3].any()
    assert not red[:, -3:].any()


# samples


@pytest.mark.parametrize("name", NAMES)
def test_the_samples_are_small_photographs_that_intake_would_take(name):
    image = Image.open(sample(name).open("rb"))

    assert min(image.size) >= 384
    assert len(sample(name).read_bytes()) <= 150_000
