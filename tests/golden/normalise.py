"""What is taken out of the texts before they are compared. All else is compared as it is.

Rules of every case: hwkd's version, times of day, digits of a float after the ninth, the dashes of a table's lines.
Rules of cases that ask for them by name ("masks" in cases.toml):

- machine: what this machine is called and is made of, versions of packages, how much else ran, how many runs were timed.
- decimals: numbers with a point, with the interval behind them, and digests: what comes of a clock or of float training.
- integers: whole numbers that are alone in a cell or a value.
- doctor: what `hwkd doctor` finds; the names of its checks and the versions that it asks for stay.
- shapes: values in files of JSON, TOML and CSV, and how many they are; their keys stay.
- files: the contents of files; their names stay.
"""

import re
from collections.abc import Collection

_PACKAGES = (
    "hwkd|onnxruntime|openvino|torch|torchvision|Pillow|numpy|Python|python|brevitas|torchao|compressai|scipy|onnx|fvcore|"
    "codecarbon|optuna|libjpeg_turbo|libjpeg-turbo|libwebp|libavif"
)
_SIGN = r"(?:(?<![\w.])[-+]|(?<![\w.+-]))"
_WHOLE = r"(?:(?<!,)\d{1,3}(?:,\d{3})+(?![\w,])|\d+)"
_NUMBER = rf"{_SIGN}{_WHOLE}(?:\.\d+)?(?:e[-+]?\d+)?(?![\w%]*\w)"
_DECIMAL = rf"{_SIGN}{_WHOLE}(?:\.\d+(?:e[-+]?\d+)?|e[-+]?\d+)(?!\.?\w)"
_INTERVAL = rf"(?: \[{_NUMBER}, {_NUMBER}\]| \({_NUMBER} to {_NUMBER}\)| ±\d[\d.,]*| -\d[\d.,]*/\+\d[\d.,]*)"
_LOAD = r"(?:[\w.-]+: )?(?:the machine was busy|whether other processes used the machine)"

EVERYWHERE = (
    (r"\bhwkd \d+\.\d+\.\d+", "hwkd <version>"),
    (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|\+00:00)", "<time>"),
    # They are as long as the columns are wide, which rows show as well.
    (r"━+", "━"),
    (r"─+", "─"),
)
RULES = {
    "machine": (
        # A note on load is there or not, as the load is. In JSON it may be the last of a list.
        (rf"(?mi)^{_LOAD}[^\n]*\n", ""),
        (rf'(?i),?\n *"{_LOAD}[^"\n]*"', ""),
        (r"((?:Host|host): +)[^\n\"]*", r"\1<machine>"),
        (r'("host": ")[^"]*', r"\1<machine>"),
        (r"Made on [^\n]*, <time>", "Made on <machine>, <time>"),
        (r"Ran on [^\n\"]*; hwkd", "Ran on <machine>; hwkd"),
        (r"\b(Linux|Darwin) \w+", "<system>"),
        (r"\b[a-z0-9]+(?:-[a-z0-9]+)*-\d+-cores?\b", "<machine>"),
        (r"pinned to core \d+", "pinned to core <n>"),
        (r"(argument --threads: must be a whole number, 1 to )\d+", r"\1<cores>"),
        (rf"\b({_PACKAGES}) \d+\.[\w.+]*\w", r"\1 <version>"),
        (rf'("(?:{_PACKAGES})": ")[^"]*', r"\1<version>"),
        (r"(version of \w+(?:\",\s+\"value\": \"| +[│|] +))[\w.+]+", r"\1<version>"),
        # As many as there was time for.
        (r'("runs": |\bn=)\d+', r"\1<n>"),
        (r"\bof \d+(?:, \d+)* runs\b", "of <n> runs"),
        (r"(In turn, )\d+( rounds)", r"\1<n>\2"),
        (r"(?m), \d+ s$", ", <n> s"),
        # The change of a latency is "=" where the intervals overlap.
        (r"(?m)^([│|] \w+_latency_ms) +[│|].*$", r"\1 <measured>"),
        (r" \(within the spread\)", ""),
        # Of a model in float, another processor finds other extremes.
        (r"(weights shortened for the bound: )[^\n\"]*", r"\1<measured>"),
        (r"(symbols differ, by )\d+", r"\1<n>"),
        (r"\d+ elementwise(?:, \d+ \w+)*", "<nodes>"),
    ),
    "decimals": (
        (r"\b[0-9a-f]{64}\b|\b[0-9a-f]{16}\b", "<digest>"),
        (rf"{_NUMBER}{_INTERVAL}(?: p95 {_NUMBER})?", "<n>"),
        (_DECIMAL, "<n>"),
        # Ticks of an axis, or cells of a page: how many may depend on the numbers.
        (r"(?m)(?:^≤?<n>\n)+", "<n>\n"),
    ),
    "integers": (
        (rf"(?m)(?<=[│|] ){_NUMBER}(?: to {_NUMBER})?(?= +[│|])", "<n>"),
        (rf'(?m)^( *(?:"[^"]*": )?"?){_NUMBER}("?,?)$', r"\1<n>\2"),
        (rf"(?m)(?<=[,\n]){_NUMBER}(?=,|$)", "<n>"),
        (rf"{_NUMBER}(?= bytes\b)", "<n>"),
    ),
    "doctor": (
        (r"This machine: [^\n\"]*", "This machine: <machine>"),
        (
            r"(?m)^([│|] [\w .-]+? +[│|]) [\w.+]+ (\(needs [^)]*\)) +[│|].*$",
            r"\1 <version> \2 <found>",
        ),
        (r"(?m)^([│|] (?!check )[\w .-]+? +[│|]) (?!<version>).*$", r"\1 <found>"),
        (r'("found": )\{[^}]*\}', r'\1"<found>"'),
        (r'("found": ")[\w.+]+ (\(needs [^)]*\))"', r'\1<version> \2"'),
        (r'("found": ")(?!<version>)[^"]*"', r'\1<found>"'),
        (r'("(?:state|mend)": ")[^"]*"', r'\1<found>"'),
        (r'(?s)("notes": \[).*?\n  \]', r"\1 <found> ]"),
        # Notes: a line for each lack.
        (r"(?m)^[\w .-]+: (?!<machine>)[^│|\n]*\n", ""),
    ),
    "shapes": (),
    "files": (),
}


def normalised(text: str, masks: Collection[str] = ()) -> str:
    """`text` without what may change from one machine or day to another."""
    # Another processor may compute another last digit of a float64.
    text = re.sub(r"\d*\.\d{10,}(?:e[-+]?\d+)?", lambda found: f"{float(found[0]):.9g}", text)
    for pattern, put in EVERYWHERE:
        text = re.sub(pattern, put, text)
    for name, rules in RULES.items():
        for pattern, put in rules if name in masks else ():
            text = re.sub(pattern, put, text)
    if "machine" in masks:
        # What was around a line that was taken out is as if it had never been there.
        text = re.sub(r"\n{2,}\Z", "\n", re.sub(r"\n{3,}", "\n\n", text))
    # Columns are as wide as the numbers that were in them.
    return re.sub(r"(?m)^[│┃|].*$", lambda row: re.sub(" +", " ", row[0]), text) if masks else text
