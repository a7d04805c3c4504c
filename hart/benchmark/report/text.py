"""Numbers and differences in words; what was not measured is called so and never 0."""

from typing import TypeGuard

from hart.benchmark.results import Interval, Spread
from hart.utils.psnr import PSNR_CAP

TIMES, TO = "\N{MULTIPLICATION SIGN}", "\N{EN DASH}"
NOT_MEASURED = "not measured"
SAME_PICTURES = "the same pictures"


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


def percent(value: float) -> str:
    """A share in percent."""
    return f"{100 * value:.1f}%"


def size(count: int) -> str:
    """Bytes in the largest unit that they fill."""
    for power, unit in ((3, "GiB"), (2, "MiB"), (1, "KiB")):
        if count >= 1024**power:
            return f"{count / 1024**power:.{2 if power == 3 else 0}f} {unit}"
    return f"{count} B"


def limits(interval: Interval, digits: int) -> str:
    """Both ends of an interval."""
    return f"{interval.low:.{digits}f} to {interval.high:.{digits}f}"


def figure(interval: Interval, digits: int, unit: str = "") -> str:
    """A value with its interval."""
    return f"{interval.value:.{digits}f}{unit} ({limits(interval, digits)})"


def are_same(decibels: Interval | None) -> TypeGuard[Interval]:
    """Whether a measured PSNR says that the pictures are the same."""
    return decibels is not None and decibels.value >= PSNR_CAP


def psnr(interval: Interval | None) -> str:
    """PSNR in dB with its interval; pictures that are the same have none."""
    if interval is None:
        return NOT_MEASURED
    return SAME_PICTURES if are_same(interval) else figure(interval, 1, " dB")


def is_chance(drop: Interval) -> bool:
    """Whether the interval of a difference to no-cache holds 0."""
    return drop.low <= 0 <= drop.high


def change_limits(drop: Interval) -> str:
    """Both ends of a drop of the prompt score as a change in points: less is negative."""
    return f"{-100 * drop.high:+.1f} to {-100 * drop.low:+.1f}"


def loss_limits(lost: Interval) -> str:
    """Both ends of a loss of fidelity, and whether it is one at all."""
    both = f"{limits(lost, 2)} dB"
    return f"within chance ({both})" if is_chance(lost) else both


def loss_in_words(lost: Interval) -> str:
    """What the paired difference of fidelity to no-cache says, and whether it is one at all."""
    if lost.low == lost.high == 0:
        return "fidelity of no-cache itself"
    if is_chance(lost):
        return f"no loss of fidelity that this run could tell from chance (interval {limits(lost, 2)} dB)"
    change = f"{abs(lost.value):.2f} dB of fidelity {'lost' if lost.value > 0 else 'gained'}"
    return f"{change} against no-cache (interval {limits(lost, 2)} dB)"


def drop_in_words(drop: Interval | None) -> str:
    """What the paired difference of the prompt score to no-cache says, and whether it is one at all."""
    if drop is None:
        return "against no-cache: not measured"
    change = f"{100 * abs(drop.value):.1f} points {'less' if drop.value >= 0 else 'more'} than no-cache"
    interval = f"interval {change_limits(drop)}"
    if is_chance(drop):
        if drop.low == drop.high == 0:
            return "the reference itself"
        return f"no difference to no-cache that this run could tell from chance ({interval})"
    return f"{change} ({interval})"


def sight_in_words(smallest: float | None, pictures: int) -> str:
    """How small a drop of the prompt score a run can see; empty where nobody judged."""
    if smallest is None:
        return ""
    return (
        f"With {pictures} pictures a drop of less than {100 * smallest:.1f} points may stay unseen: where no picture's "
        "verdict changes, the interval reaches as far."
    )


def few_pictures_in_words(pictures: int) -> str:
    """What the Frechet distance is worth with so many pictures."""
    return (
        f"The Fréchet distance is of {pictures} pictures only: it is biased upwards for few (thousands are usual), so "
        "it compares settings of this run and nothing else."
    )


def speed_in_words(speed_up: Spread) -> str:
    """Whether a setting is faster than no-cache beyond its quartiles."""
    if speed_up.q1 > 1:
        return "faster than no-cache"
    return "slower than no-cache" if speed_up.q3 < 1 else "as fast as no-cache: the quartiles hold 1"
