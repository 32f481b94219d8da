"""Random namelists, read by the program's reader (dump_namelist) and by f90nml: the same values. Prints differences."""
import json, random, subprocess, sys

import f90nml

SPACE = ["", " ", "  ", "\t", "\n", " ! a comment, with 'quotes' / and &end\n", "\r\n"]
WORDS = ["a ! b", "/path/to/x.tar", "it's", 'say "no"', "&end", "", " ", "a,b", "x=1", "3*2", "{000..125}", "$end", "%d"]


def space(least=""):
    return least + random.choice(SPACE)


def text():
    quote = random.choice("'\"")
    return quote + random.choice(WORDS).replace(quote, 2 * quote) + quote


def number():
    sign, digits = random.choice(["", "+", "-"]), str(random.randrange(10**6))
    forms = ["%s", "%s.", "%s.25", "%se-3", "%s.5d2", "%s.5D-2", "%s.E+1", "%s.5+2", "%s-2"]
    return sign + random.choice(forms) % digits


def logical():
    return random.choice([".true.", ".FALSE.", "T", "f", ".t.", ".F.", "true", "False"])


def values():
    """One list of values of a kind, with repeats and null values; f90nml takes what stands behind the blank of "3* 1" as
    repeated and forgets the null value of "1*", unlike Fortran, so neither occurs."""
    make, out = random.choice([text, number, logical]), ""
    for _ in range(random.randrange(1, 6)):
        repeat = random.choice(["", "", "", "1*", "%d*" % random.randrange(2, 4)])
        if repeat not in ("", "1*") and random.random() < 0.3:
            out += space(repeat + ",")
        else:
            out += repeat + make() + random.choice([space(","), space(" "), space(", ")])
    return out


def namelist():
    out, names = "", ["g%d" % i for i in range(random.randrange(1, 4))]
    for name in names:
        start, end = random.choice([("&", "/"), ("&", "&end"), ("$", "$end"), ("&", "&END")])
        out += start + random.choice([name, name.upper()]) + space("\n")
        for key in random.sample(["a", "Beta_2", "lr", "t", "F1"], random.randrange(0, 5)):
            out += key + space() + "=" + space() + (values() if random.random() < 0.95 else "") + space("\n")
        out += end + space("\n")
    return out


def value_of(value):
    if not isinstance(value, dict):
        return value
    word = value["word"].lower()
    if word.strip(".")[0] in "tf":
        return word.strip(".")[0] == "t"
    for i, c in enumerate(word):
        if c in "+-" and i > 0 and word[i - 1] in "0123456789.":
            word = word[:i] + "e" + word[i:]
            break
    return float(word.replace("d", "e"))


def ours(content):
    run = subprocess.run([sys.argv[1]], input=content, capture_output=True, text=True)
    if run.returncode:
        return run.stderr
    return {g: {k: [value_of(v) for v in values] for k, values in keys.items()} for g, keys in json.loads(run.stdout).items()}


def theirs(content):
    groups = {}
    for group, keys in f90nml.reads(content).todict().items():
        lists = {k: v if isinstance(v, list) else [] if v is None else [v] for k, v in keys.items()}
        groups[group] = {k: [float(x) if type(x) is int else x for x in v] for k, v in lists.items()}
    return groups


def same(a, b):
    if not isinstance(a, dict) or a.keys() != b.keys():
        return False
    # a lone null value reads as no value at all in f90nml
    return all(x == y or (y == [] and x == [None]) for g in a if a[g].keys() == b[g].keys() for x, y in [(a[g][k], b[g][k]) for k in a[g]]) and all(a[g].keys() == b[g].keys() for g in a)


random.seed(1)
different = 0
for trial in range(int(sys.argv[2])):
    content = namelist()
    a, b = ours(content), theirs(content)
    if not same(a, b):
        different += 1
        print(content, "ours: ", a, "f90nml:", b, sep="\n")
print(different, "of", sys.argv[2], "differ")
sys.exit(different > 0)
