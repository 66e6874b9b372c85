"""Dates as people write them, and as in ISO 8601: a translation whose every answer is known."""

from __future__ import annotations

import datetime

from .order import uniforms

_STREAM = 0x6461746573
_MOST = 200_000  # of 600,000 that there are: drawn twice over, most are new
_FIRST, _DAYS = datetime.date(1950, 1, 1), 36525  # to 2049

# Months and weekdays of a language, and how dates are written in it: {d} and {dd} are the day, {m} and {mm} the month, {b}
# its name, {s} its first letters, {w} the weekday, {y} and {yy} the year. Of numbers alone, each language has one order.
_LANGUAGES = {
    "en": (
        "January February March April May June July August September October November December",
        "Monday Tuesday Wednesday Thursday Friday Saturday Sunday",
        ("{b} {d}, {y}", "{s} {d}, {y}", "{d} {b} {y}", "{w}, {b} {d}, {y}", "{m}/{d}/{y}", "{mm}/{dd}/{yy}"),
    ),
    "de": (
        "Januar Februar März April Mai Juni Juli August September Oktober November Dezember",
        "Montag Dienstag Mittwoch Donnerstag Freitag Samstag Sonntag",
        ("{d}. {b} {y}", "{dd}.{mm}.{y}", "{d}.{m}.{yy}", "{w}, {d}. {b} {y}", "den {d}. {s}. {y}"),
    ),
    "fr": (
        "janvier février mars avril mai juin juillet août septembre octobre novembre décembre",
        "lundi mardi mercredi jeudi vendredi samedi dimanche",
        ("{d} {b} {y}", "le {d} {b} {y}", "{w} {d} {b} {y}", "{dd}-{mm}-{y}"),
    ),
    "es": (
        "enero febrero marzo abril mayo junio julio agosto septiembre octubre noviembre diciembre",
        "lunes martes miércoles jueves viernes sábado domingo",
        ("{d} de {b} de {y}", "{w}, {d} de {b} de {y}", "el {d} de {b} de {y}"),
    ),
}  # fmt: skip


def written(date: datetime.date, language: str, form: str) -> str:
    """A date in a form of a language."""
    months, weekdays, _ = _LANGUAGES[language]
    month = months.split()[date.month - 1]
    return form.format(
        d=date.day, dd=f"{date.day:02}", m=date.month, mm=f"{date.month:02}", b=month, s=month[:3],
        w=weekdays.split()[date.weekday()], y=date.year, yy=f"{date.year % 100:02}",
    )  # fmt: skip


def date_pairs(size: int, seed: int = 0) -> tuple[list[str], list[str]]:
    """`size` dates of 1950 to 2049, each in a language and form drawn by `seed`, and the same in ISO 8601; no pair twice."""
    if not 0 < size <= _MOST:
        msg = f"dates: size is {size!r}; expected 1 to {_MOST}"
        raise ValueError(msg)
    forms = [(language, form) for language, (*_, found) in _LANGUAGES.items() for form in found]
    pairs: dict[tuple[str, str], None] = {}
    for day, which in uniforms(seed, _STREAM, 0, 4 * size).reshape(-1, 2):
        date = _FIRST + datetime.timedelta(days=int(day * _DAYS))
        pairs[written(date, *forms[int(which * len(forms))]), date.isoformat()] = None
    sources, targets = zip(*list(pairs)[:size], strict=True)
    return list(sources), list(targets)
