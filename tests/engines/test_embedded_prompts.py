"""What the embedded engine reads out of a prompt, in four languages."""

import time

import pytest

from gesso.engines.embedded.frame import GEOMETRY
from gesso.engines.embedded.parser import parse
from gesso.engines.embedded.plan import Plan, Step
from gesso.engines.embedded.reading import split
from gesso.engines.embedded.stylise import STYLES
from gesso.engines.embedded.tone import TONES
from gesso.engines.embedded.weather import WEATHER
from gesso.engines.embedded.words import OPERATORS

RADIO_HOSTS = (
    "On the left sits a monster, and on the right sits another monster. The two of them are like radio hosts, wearing "
    "headphones and sitting in a recording studio, discussing a topic."
)


def operators(plan: Plan) -> list[str]:
    """The operators of *plan* but for one that only frames."""
    return [
        step.operator
        for step in plan.steps
        if step.settings.get("mode") != "cover" and step.settings.get("by") != "default"
    ]


def only(plan: Plan, operator: str) -> Step:
    return next(step for step in plan.steps if step.operator == operator)


# references, the operators expected, and prompts that all mean them
PROMPTS: list[tuple[int, list[str], list[str]]] = [
    (1, ["pencil"], ["pencil sketch", "как карандашный рисунок", "鉛筆画にして", "铅笔画"]),
    (1, ["watercolour"], ["turn it into a watercolor painting", "в стиле акварели", "水彩画風に", "变成水彩画"]),
    (1, ["oil"], ["an oil painting", "картина маслом", "油絵にして", "变成油画"]),
    (1, ["cartoon"], ["make it a cartoon", "сделай мультяшно", "アニメ風に", "卡通风格"]),
    (1, ["ink"], ["ink drawing", "рисунок тушью", "水墨画", "钢笔画"]),
    (1, ["pixel_art"], ["8-bit pixel art", "пиксель-арт", "ドット絵にして", "像素风"]),
    (1, ["black_and_white"], ["make it black and white", "чёрно-белое фото", "白黒にして", "变成黑白照片"]),
    (1, ["sepia"], ["sepia", "в тонах сепии", "セピア", "怀旧棕"]),
    (1, ["night"], ["at night", "ночная сцена", "夜にして", "夜晚"]),
    (1, ["sunset"], ["at sunset", "на закате", "夕焼け", "日落"]),
    (1, ["snow"], ["add snow", "добавь снег", "雪を降らせて", "加上雪"]),
    (1, ["rain"], ["add some rain", "под дождём", "雨を追加", "下雨"]),
    (1, ["fog"], ["foggy", "туман", "霧を追加", "加雾"]),
    (1, ["blur_background"], ["blur the background", "размой фон", "背景をぼかして", "虚化背景"]),
    (1, ["plain_background"], ["on a white background", "на белом фоне", "白い背景に", "换成白色背景"]),
    (
        1,
        ["recolour"],
        ["make the red car blue", "сделай красную машину синей", "赤い車を青くして", "把红色的车变成蓝色"],
    ),
    (1, ["recolour"], ["make the cat ginger", "сделай кота рыжим", "猫を水色にして", "把猫变成蓝色"]),
    (
        1,
        ["plain_background"],
        [
            "remove the background and make it sky blue",
            "убери фон и поставь голубой",
            "背景を消して白に",
            "去掉背景，换成黄色",
        ],
    ),
    (1, ["vintage"], ["an old faded polaroid", "как полароид", "フィルム写真っぽく", "胶片"]),
    (1, ["text"], ['add the text "HELLO"', "надпись «ПРИВЕТ»", "「こんにちは」と書いて", "加上文字“你好”"]),
    (1, ["mirror"], ["flip it horizontally", "отрази по горизонтали", "左右反転", "水平翻转"]),
    (1, ["brighter"], ["brighter", "сделай светлее", "もう少し明るく", "调亮一点"]),
    (1, ["frame"], ["zoom in on the centre", "крупным планом", "ズームイン", "放大"]),
    (
        2,
        ["columns"],
        [RADIO_HOSTS, "слева монстр, справа другой монстр", "左にモンスター、右にもう一匹", "左边一个怪物，右边另一个"],
    ),
    (
        2,
        ["subject_on"],
        [
            "put the cat of image 1 on the background of image 2",
            "помести кота с изображения 1 на фон изображения 2",
            "画像1の猫を画像2の背景に置いて",
            "把图1的猫放到图2的背景上",
        ],
    ),
    (2, ["style_from"], ["in the style of image 2", "в стиле изображения 2", "画像2のスタイルで", "用图2的风格"]),
    (1, [], ["a snow leopard under an oil lamp", "два монстра ведут эфир", "怪獣がラジオで話す", "两个怪物在聊天"]),
]


@pytest.mark.parametrize(
    ("count", "expected", "prompt"),
    [(count, expected, prompt) for count, expected, prompts in PROMPTS for prompt in prompts],
)
def test_a_prompt_means_the_same_in_four_languages(count, expected, prompt):
    assert operators(parse(prompt, "", count)) == expected


@pytest.mark.parametrize(
    "prompt",
    [
        "a man in black and a woman in white",
        "a snow leopard",
        "a warm-hearted nurse",
        "a night stand with an oil lamp",
        "olive oil",
        "a room lit in oil lamp light",
        "a comic store in the raincoat district",
        "a cool guy with dark hair",
        "снежный барс",
        "白雪姫",
        "a boy holding a pencil",
        "no snow",
        "without text",
        "без снега",
        "雪なし",
        "不要雪",
        "do not add any rain",
        "",
        "!?",
    ],
)
def test_a_prompt_that_names_no_operation_gets_none(prompt):
    plan = parse(prompt, "", 1)

    assert operators(plan) == []
    assert "no_operator_matched" in plan.warnings


@pytest.mark.parametrize(
    "prompt",
    [
        "pencil sketch, no snow",
        "snow-free pencil drawing without snow",
        "карандашный рисунок, без снега",
        "雪なし、鉛筆画",
        "铅笔画，不要雪",
    ],
)
def test_a_negated_operator_is_left_out_and_the_others_stay(prompt):
    assert operators(parse(prompt, "", 1)) == ["pencil"]


def test_a_negation_reaches_a_few_words_and_not_the_whole_clause():
    assert operators(parse("there is no sound at all in this snowy place", "", 1)) == ["snow"]


@pytest.mark.parametrize("negative", ["snow", "no snow", "snow, blurry, ugly", "снег", "雪", "不要雪"])
def test_the_negative_prompt_switches_off_what_it_names(negative):
    assert operators(parse("pencil sketch, add snow", negative, 1)) == ["pencil"]


def test_the_negative_prompt_keeps_text_from_being_written():
    assert operators(parse('sepia, with the caption "NO"', "text, watermark", 1)) == ["sepia"]


@pytest.mark.parametrize(
    ("prompt", "strength"),
    [
        ("slightly brighter", 0.5),
        ("much brighter", 1.5),
        ("brighter", 1.0),
        ("немного светлее", 0.5),
        ("намного светлее", 1.5),
        ("少し明るく", 0.5),
        ("かなり明るく", 1.5),
        ("稍微调亮", 0.5),
        ("brighter, very blurred", 1.0),
        ("brighter, this is very important", 1.0),
        ("this is very important, brighter", 1.0),
    ],
)
def test_a_strength_word_scales_the_operator_of_its_clause(prompt, strength):
    assert only(parse(prompt, "", 1), "brighter").strength == strength


@pytest.mark.parametrize(
    ("prompt", "order"),
    [
        (RADIO_HOSTS, (1, 2)),
        ("image 2 on the left, image 1 on the right", (2, 1)),
        ("the second image on the left", (2, 1)),
        ("слева изображение 2, справа изображение 1", (2, 1)),
        ("左に画像2、右に画像1", (2, 1)),
        ("图2在左边，图1在右边", (2, 1)),
    ],
)
def test_references_stand_where_the_prompt_puts_them(prompt, order):
    assert only(parse(prompt, "", 2), "columns").settings["references"] == order


@pytest.mark.parametrize(
    ("prompt", "at", "size"),
    [
        ("put image 2 into the top right corner of image 1, small", "top right", "small"),
        ("image 1 with image 2 in the corner", "bottom right", "medium"),
        ("помести изображение 2 в левый верхний угол изображения 1, крупно", "top left", "large"),
        ("画像2を画像1の右上の隅に小さく置いて", "top right", "small"),
        ("画像1の左下の隅に画像2を入れて", "bottom left", "medium"),
        ("把图2放到图1的右下角", "bottom right", "medium"),
    ],
)
def test_a_reference_goes_into_the_named_corner_of_the_other(prompt: str, at: str, size: str) -> None:
    plan = parse(prompt, "", 2)

    assert only(plan, "picture_in_picture").settings == {"references": (1, 2), "at": at, "size": size}
    assert plan.not_understood == ()


@pytest.mark.parametrize(
    "prompt", ["a street corner", "在街角", "图1的主角和图2的角色", "add the text 'Hi' in the top left corner"]
)
def test_a_corner_of_something_else_lays_out_nothing(prompt: str) -> None:
    assert "picture_in_picture" not in operators(parse(prompt, "", 2))


@pytest.mark.parametrize(
    "name",
    [
        "image 2",
        "the second image",
        "Image #2",
        "picture two",
        "изображения 2",
        "второго изображения",
        "2-го фото",
        "картинки №2",
        "画像２",
        "2枚目の画像",
        "图片2",
        "第二张图",
    ],
)
def test_a_reference_can_be_named_in_many_ways(name):
    plan = parse(f"pencil sketch: {name}", "", 3)

    assert plan.steps[0].settings["reference"] == 2


@pytest.mark.parametrize(
    ("prompt", "subject", "backdrop"),
    [
        ("replace the background of image 1 with image 2", 1, 2),
        ("use image 1 as the background", 2, 1),
        ("замени фон на изображение 2", 1, 2),
        ("画像2を背景にして", 1, 2),
        ("put image 2 in front of image 1", 2, 1),
    ],
)
def test_a_background_reference_is_told_from_its_subject(prompt, subject, backdrop):
    settings = only(parse(prompt, "", 2), "subject_on").settings

    assert (settings["subject"], settings["backdrop"]) == (subject, backdrop)


def test_the_lender_of_a_style_is_not_shown():
    plan = parse("image 1 in the colours of image 2", "", 2)

    assert (plan.steps[0].settings["reference"], only(plan, "style_from").settings["reference"]) == (1, 2)


def test_a_reference_that_is_not_there_gives_a_warning():
    plan = parse("sepia, in the style of image 3", "", 2)

    assert "no_such_reference" in plan.warnings
    assert "style_from" not in operators(plan)


def test_text_stands_where_how_large_and_in_which_colour_the_prompt_says():
    settings = only(parse('add a big red title "GOOD DAY" at the top left', "", 1), "text").settings

    assert settings == {"text": "GOOD DAY", "at": "top left", "size": "large", "colour": "red"}


def test_words_within_quotation_marks_name_no_operator():
    assert operators(parse('add the text "SNOW AT NIGHT" at the bottom', "", 1)) == ["text"]


def test_the_plan_has_one_order_whatever_the_order_of_the_words():
    prompt = 'write "HI", add snow, pencil, warmer, blur the background, in the colours of image 2, flip horizontally'

    assert operators(parse(prompt, "", 2)) == [
        "mirror",
        "blur_background",
        "style_from",
        "warm",
        "pencil",
        "snow",
        "text",
    ]


def test_what_is_not_understood_is_told_without_the_words_that_carry_no_content():
    plan = parse("please turn this picture into a watercolour of a monster with headphones", "", 1)

    assert plan.not_understood == ("monster", "headphones")


def test_at_most_twenty_words_are_told_as_not_understood():
    assert len(parse(" ".join(f"zz{chr(97 + n)}" for n in range(26)), "", 1).not_understood) == 20


def test_a_plan_written_out_is_an_english_sentence():
    assert str(parse("鉛筆画、少し暖かく", "", 1)) == (
        "First frame (reference 1, mode cover), then warm (strength 0.5), then pencil."
    )


@pytest.mark.parametrize(
    "prompt", ["(" * 500, "no " * 600, "画像" * 600, '"' * 801, "make # @ ~ * =", "\ue000\ue101", "image 99999999"]
)
def test_no_prompt_makes_the_parser_stumble(prompt):
    assert parse(prompt, prompt[:500], 2).steps


@pytest.mark.parametrize("operator", OPERATORS)
def test_every_phrase_of_the_vocabulary_is_read_as_its_operator(operator):
    plain = [
        phrase.lstrip("=").replace("*", "")
        for phrase in split(OPERATORS[operator])
        if not set(phrase) & set("(|?[.{#@~")
    ]
    misread = {
        phrase: operators(parse(phrase, "", 1)) for phrase in plain if operator not in operators(parse(phrase, "", 1))
    }

    assert not misread


def test_every_operator_of_the_vocabulary_is_made_somewhere():
    assert set(OPERATORS) == {*GEOMETRY, *TONES, *STYLES, *WEATHER, "grain", "blur_background"}


@pytest.mark.parametrize(
    "word",
    ["put image 1 ", "make red ", "no ", "flip it ", "snow and ", "background image 2 ", "把图1", "画像1を", "на фон "],
)
def test_a_prompt_of_full_length_is_read_in_no_time(word):
    started = time.process_time()  # other programs of the machine do not count
    parse((word * 2000)[:2000], (word * 500)[:500], 3)

    assert time.process_time() - started < 4
