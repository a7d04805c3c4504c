"""Numbers and differences in words; what was not measured is called so and never 0."""

from hart.benchmark.results import Interval, Spread

TIMES, TO = "\N{MULTIPLICATION SIGN}", "\N{EN DASH}"
NOT_MEASURED = "not measured"
SAME_PSNR = 100.0
"""Infinite PSNR is capped here: the pictures are the same."""


def shorten(text: str, letters: int) -> str:
    """At most so many letters on one line; the middle goes, because names differ at both ends."""
    line = "".join(letter if letter.isprintable() else " " for letter in " ".join(text.split()))
    if len(line) <= letters:
        return line
    tail = (letters - 1) // 2
    return f"{line[: letters - 1 - tail]}…{line[-tail:]}"


def times(value: float) -> str:
    """A ratio, such as 1.31 and the sign of multiplication."""
    return f"{value:.2f}{TIMES}"


def quartiles(spread: Spread) -> str:
    """Both quartiles of a ratio."""
    return f"{spread.q1:.2f}{TO}{spread.q3:.2f}"


def seconds(value: float) -> str:
    """Seconds with three significant digits."""
    return f"{value:.3g} s" if value < 100 else f"{value:.0f} s"


def percent(value: float | None) -> str:
    """A share in percent."""
    return NOT_MEASURED if value is None else f"{100 * value:.1f}%"


def size(count: int) -> str:
    """Bytes in the largest unit that they fill."""
    for power, unit in ((3, "GiB"), (2, "MiB"), (1, "KiB")):
        if count >= 1024**power:
            return f"{count / 1024**power:.{2 if power == 3 else 0}f} {unit}"
    return f"{count} B"


def figure(interval: Interval | None, digits: int, unit: str = "") -> str:
    """A value with its interval."""
    if interval is None:
        return NOT_MEASURED
    return f"{interval.value:.{digits}f}{unit} ({interval.low:.{digits}f} to {interval.high:.{digits}f})"


def psnr(interval: Interval | None) -> str:
    """PSNR in dB; pictures that are the same have none."""
    if interval is not None and interval.value >= SAME_PSNR:
        return "the same pictures"
    return figure(interval, 1, " dB")


def drop_in_words(drop: Interval | None) -> str:
    """What the paired difference of the prompt score to no-cache says, and whether it is one at all."""
    if drop is None:
        return "against no-cache: not measured"
    change = f"{100 * abs(drop.value):.1f} points {'less' if drop.value >= 0 else 'more'} than no-cache"
    interval = f"interval {-100 * drop.high:+.1f} to {-100 * drop.low:+.1f}"
    if drop.low <= 0 <= drop.high:
        if drop.low == drop.high:
            return "no difference to no-cache: every picture scored alike"
        return f"no difference to no-cache that this run could tell from chance ({interval})"
    return f"{change} ({interval})"


def speed_in_words(speed_up: Spread) -> str:
    """Whether a setting is faster than no-cache beyond its quartiles."""
    if speed_up.q1 > 1:
        return "faster than no-cache"
    return "slower than no-cache" if speed_up.q3 < 1 else "as fast as no-cache: the quartiles hold 1"
