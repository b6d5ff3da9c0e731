"""The colours that a prompt may name."""

import numpy as np

from gesso.engines.embedded.pixels import Pixels

# name -> (sRGB 0..255, its words in the manner of `words.toml`)
COLOURS: dict[str, tuple[tuple[int, int, int], str]] = {
    "red": ((206, 44, 44), "red, crimson, scarlet, красн*, 赤, 红色?, 紅"),
    "burgundy": ((128, 28, 48), "burgundy, maroon, бордов*, ボルドー, ワインレッド, 酒红色?, えんじ色?"),
    "orange": ((235, 126, 40), "orange, ginger, оранжев*, рыж*, オレンジ, 橙色?"),
    "yellow": ((240, 205, 60), "yellow, желт*, 黄色?"),
    "green": ((58, 150, 76), "green, зелен*, 緑, 绿色?"),
    "teal": ((32, 150, 150), "teal, cyan, turquoise, бирюзов*, シアン, ターコイズ, 青绿色?"),
    "sky blue": ((122, 186, 234), "(sky|light|pale|baby) blue, голуб*, 空色, 水色, 天蓝色?, 浅蓝色?"),
    "blue": ((44, 94, 200), "blue, azure, син(ий|яя|ее|ие|его|ему|им|ими|их|юю|ей|ем), 青, 蓝色?, 藍"),
    "navy": ((28, 40, 92), "navy( blue)?, dark blue, темно ?син*, 紺色?, 深蓝色?"),
    "purple": ((124, 70, 180), "purple, violet, фиолетов*, пурпурн*, лилов*, 紫色?"),
    "pink": ((236, 130, 170), "pink, magenta, розов*, ピンク, 桃色, 粉红?色?"),
    "brown": ((122, 78, 48), "brown, коричнев*, 茶色, 棕色?, 褐色"),
    "beige": ((226, 208, 180), "beige, cream, бежев*, кремов*, ベージュ, 米色"),
    "gold": ((212, 168, 70), "gold(en)?, золот*, 金色?"),
    "white": ((250, 250, 250), "white, бел(ый|ая|ое|ые|ого|ому|ым|ыми|ых|ую|ой|ом), 白色?"),
    "grey": ((128, 130, 134), "gr(e|a)y, сер(ый|ая|ое|ые|ого|ому|ым|ыми|ых|ую|ой|ом), グレー, 灰色?"),
    "black": ((18, 18, 20), "black, черн(ый|ая|ое|ые|ого|ому|ым|ыми|ых|ую|ой|ом), 黒い?, 黑色?"),
}


def rgb(colour: str) -> Pixels:
    """A colour by its name, (3,), 0..1."""
    return np.array(COLOURS[colour][0], np.float32) / np.float32(255)
