"""When images and recordings were taken, as files write it."""

import datetime
import re
from typing import Any

DAY_S = 86_400.0


def clock_difference_s(later_s: float, earlier_s: float) -> float:
    """Time from one reading of a 24 h clock to another, within half a day of it: midnight may lie between."""
    return (later_s - earlier_s + DAY_S / 2) % DAY_S - DAY_S / 2


def moment(value: Any) -> datetime.datetime | None:
    """Date and time, ISO 8601 or as in DICOM (20250131121251.665); without its zone, which scanners set alike."""
    text = str(value).strip()
    if match := re.fullmatch(r"(\d{14})(\.\d+)?", text):
        seconds = float(match[2] or 0)
        try:
            return datetime.datetime.strptime(match[1], "%Y%m%d%H%M%S") + datetime.timedelta(seconds=seconds)
        except ValueError:
            return None
    try:
        return datetime.datetime.fromisoformat(text).replace(tzinfo=None) if "T" in text or " " in text else None
    except ValueError:
        return None


def clock_s(value: Any) -> float | None:
    """Seconds since midnight of 12:12:51.665, of DICOM's 121251.665, or of a number of seconds.

    Older converters leave leading zeros out (06:17:7.255): read as meant.
    """
    text = "" if isinstance(value, bool) else str(value).strip()
    if match := re.fullmatch(r"(\d{1,2}):(\d{1,2}):(\d{1,2}(?:\.\d+)?)", text):
        hours, minutes, seconds = (float(part) for part in match.groups())
    elif re.fullmatch(r"\d+(\.\d+)?", text):
        number = float(text)
        hours, minutes, seconds = number // 10000, number // 100 % 100, number % 100
        if (minutes >= 60 or seconds >= 60) and number < DAY_S:
            return number
    else:
        return None
    return 3600 * hours + 60 * minutes + seconds if hours < 24 and minutes < 60 and seconds < 61 else None
