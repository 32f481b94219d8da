#!/usr/bin/env python3
"""Writes text_tables.c: facts about characters that cleaning a caption needs. Run with ftfy 6 and regex installed: text_tables.py > text_tables.c"""
import html.entities

import ftfy.badness
import ftfy.chardata
import regex

ENCODINGS = ftfy.chardata.CHARMAP_ENCODINGS[1:]  # Latin-1 needs no table
CATEGORIES = ["common", "c1", "bad", "law", "currency", "start_punctuation", "end_punctuation", "numeric", "kaomoji", "upper_accented",
              "lower_accented", "upper_common", "lower_common", "box"]
CLUES = ["utf8_first_of_2", "utf8_first_of_3", "utf8_first_of_4", "utf8_continuation", "utf8_continuation_strict"]


def literal(text):
    return '"' + "".join(chr(b) if 32 <= b < 127 and chr(b) not in '"\\?' else f"\\{b:03o}" for b in text.encode()) + '"'


def members(expression):
    """The characters of a regular expression's class, ranges written with '-'."""
    found, i = set(), 0
    while i < len(expression):
        if i + 2 < len(expression) and expression[i + 1] == "-":
            found.update(range(ord(expression[i]), ord(expression[i + 2]) + 1))
            i += 3
        else:
            found.add(ord(expression[i]))
            i += 1
    return found


def rows(items, width=140):
    line = " "
    for item in items:
        if len(line) + len(item) + 2 > width:
            yield line
            line = " "
        line += " " + item + ","
    yield line


def table(declaration, items):
    print(f"{declaration} = {{")
    print("\n".join(rows(items)))
    print("};")


def ranges(predicate):
    found, start = [], None
    for code in range(0x110001):
        inside = code < 0x110000 and not 0xD800 <= code < 0xE000 and predicate(chr(code))
        if inside and start is None:
            start = code
        elif not inside and start is not None:
            found.append(f"{{0x{start:x}, 0x{code - 1:x}}}")
            start = None
    return found


def is_final_after(text):
    return (text + "\u03a3").lower().endswith("\u03c2")


print("/* Made by text_tables.py; do not edit. */\n/* clang-format off */")
print('#include "data/text_tables.h"\n')
entities = sorted(html.entities.html5.items())
table("const struct text_entity text_entities[]", [f"{{{literal(k)}, {literal(v)}}}" for k, v in entities])
print(f"const int text_entity_count = {len(entities)};")
capitals = sorted((k[1:], v) for k, v in ftfy.chardata.HTML_ENTITIES.items() if k[1:] not in html.entities.html5)
table("const struct text_entity text_capital_entities[]", [f"{{{literal(k)}, {literal(v)}}}" for k, v in capitals])
print(f"const int text_capital_entity_count = {len(capitals)};")
replaced = dict(ftfy.chardata.LIGATURES)
replaced.update(ftfy.chardata.WIDTH_MAP)
table("const struct text_replacement text_replacements[]", [f"{{0x{k:x}, {literal(v)}}}" for k, v in sorted(replaced.items())])
print(f"const int text_replacement_count = {len(replaced)};")
print("/* What the bytes 0x80 to 0xff stand for. */")
print(f"const uint16_t text_charmaps[{len(ENCODINGS)}][128] = {{")
for encoding in ENCODINGS:
    print(f"  {{ /* {encoding} */")
    print("\n".join(rows([f"0x{ord(c):x}" for c in bytes(range(128, 256)).decode(encoding)])))
    print("  },")
print("};")
sets = [members(ftfy.badness.MOJIBAKE_CATEGORIES[c]) for c in CATEGORIES] + [members(ftfy.chardata.UTF8_CLUES[c]) for c in CLUES]
classes = {}
for bit, characters in enumerate(sets):
    for code in characters:
        classes[code] = classes.get(code, 0) | 1 << bit
table("const struct text_class text_classes[]", [f"{{0x{k:x}, 0x{v:x}}}" for k, v in sorted(classes.items())])
print(f"const int text_class_count = {len(classes)};")
cased = ranges(lambda c: is_final_after(c))
table("const struct text_range text_cased[]", cased)
print(f"const int text_cased_count = {len(cased)};")
ignorable = ranges(lambda c: is_final_after("a" + c) and not is_final_after(c))
table("const struct text_range text_case_ignorable[]", ignorable)
print(f"const int text_case_ignorable_count = {len(ignorable)};")
for name, pattern in (("letters", r"\p{L}"), ("numbers", r"\p{N}")):
    found = ranges(regex.compile(pattern).match)
    table(f"const struct text_range text_{name}[]", found)
    print(f"const int text_{name}_count = {len(found)};")
