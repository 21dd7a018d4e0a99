"""Days, ages, durations, labels and causes as people write them."""

from __future__ import annotations

from datetime import UTC, datetime

from labeling.judgements import CONFIDENCES

NAMES = {
    "cannot_tell": "cannot tell",
    "operating_system": "operating system",
}
MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]
_DAYS_IN_YEAR = 365.2425


def name_of(word: str) -> str:
    """Return a label or cause as people write it.

    >>> name_of("cannot_tell"), name_of("library")
    ('cannot tell', 'library')
    """
    return NAMES.get(word, word)


def name_confidence(confidence: int) -> str:
    """Return a confidence in words.

    >>> name_confidence(3)
    'certain'
    """
    return CONFIDENCES.get(confidence, "")


def format_day(at: str) -> str:
    """Return a day as people write it; what is no time stays as it is.

    >>> format_day("2015-03-09T10:11:12.130Z"), format_day("soon")
    ('9 Mar 2015', 'soon')
    """
    when = parse_time(at)
    return f"{when.day} {MONTHS[when.month - 1]} {when.year}" if when else at


def format_age(at: str, judged_at: str) -> str:
    """Say how long before, or after, the day of judgement something was.

    >>> format_age("2015-03-09T10:11:12Z", "2024-03-10"), format_age("2024-01-09", "2024-03-10")
    ('9 years before', '2 months before')
    """
    then, day = parse_time(at), parse_time(judged_at)
    if not then or not day:
        return ""
    days = (day - then).total_seconds() / 86_400
    side = "before" if days >= 0 else "after"
    days = abs(days)
    sizes = ((days / _DAYS_IN_YEAR, "year"), (days * 12 / _DAYS_IN_YEAR, "month"), (days, "day"))
    num, unit = next(((int(num), unit) for num, unit in sizes if num >= 1), (0, "day"))
    return f"{num} {unit}{'' if num == 1 else 's'} {side}" if num else "the same day"


def format_seconds(seconds: float) -> str:
    """Return a stretch of time, rounded as people would say it.

    >>> [format_seconds(seconds) for seconds in (20.0, 400.0, 9_000.0)]
    ['a minute', '7 minutes', '2.5 hours']
    """
    minutes = round(seconds / 60)
    if minutes < 2:
        return "a minute"
    return f"{minutes} minutes" if minutes < 90 else f"{seconds / 3600:.1f} hours"


def parse_time(at: str) -> datetime | None:
    """Return an ISO time in UTC; None where it is none.

    >>> parse_time("2015-03-09").isoformat(), parse_time("yesterday")
    ('2015-03-09T00:00:00+00:00', None)
    """
    try:
        when = datetime.fromisoformat(at)
        return when.astimezone(UTC) if when.tzinfo else when.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        return None
