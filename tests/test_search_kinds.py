"""How people write titles, kind by kind: queries made from all titles that a kind
applies to, and how many of them lead to their film first, or among the first five."""

import random
import re
import string
import unicodedata

import polars as pl
import pytest

from movierec.catalogue import build_catalogue
from movierec.titles import (
    NUMBERS,
    NUMERALS,
    SHORT,
    name_forms,
    name_parts,
    plain,
    split_title,
    without_article,
)

ROMAN_NUMERALS = [numeral.upper() for numeral in NUMERALS.split()][:10]
SPELLED = {number: word for word, number in NUMBERS.items()}
FRACTIONS = {"1/2": "½", "1/3": "⅓", "1/4": "¼", "3/4": "¾"}
LETTERS = {"ae": "æ", "oe": "œ", "ss": "ß", "o": "ø", "l": "ł"}


def as_it_is(name, film):
    yield name


def in_small_letters(name, film):
    yield name.lower()


def whole_title(name, film):
    yield film["title"]


def without_the_article(name, film):
    if found := re.match(r"(the|an?|les?|la|das|der|il|el)\s(.+)|l'(.+)", name, re.I):
        yield found[2] or found[3]


def article_behind(name, film):
    if found := re.match(r"(the|an?)\s(.+)", name, re.I):
        yield f"{found[2]}, {found[1]}"


def and_and_its_sign(name, film):
    yield name.replace("&", "and")
    yield re.sub(r"\band\b", "&", name, flags=re.I)


def numerals(name, film):
    for found in re.finditer(r"\w+", name):
        word, first = found[0], found.start() == 0
        if word.isdigit():
            number = int(word)
        elif word in ROMAN_NUMERALS[1:8] and not first:
            number = ROMAN_NUMERALS.index(word) + 1
        else:
            number = NUMBERS.get(word.lower(), 0)
        beside = name[: found.start()][-1:] + name[found.end() :][:1]
        if 0 < number <= 20 and not re.search(r"[-/,.\d]", beside):
            roman = [ROMAN_NUMERALS[number - 1]] if number <= 10 and not first else []
            for other in [str(number), SPELLED[number], *roman]:
                if other != "I":
                    yield name[: found.start()] + other + name[found.end() :]


def without_punctuation(name, film):
    yield re.sub(r"[^\w\s&+]", "", name)


def spaces_for_punctuation(name, film):
    yield re.sub(r"[^\w\s&+'\u2019]", " ", name)


def other_apostrophes(name, film):
    yield name.replace("'", "\u2019")


def initials(name, film):
    if re.search(r"\b\w\.\s?\w\.", name):
        yield re.sub(r"(?<=\b\w)\.", "", name)
        yield re.sub(r"(?<=\b\w)\.\s?(?=\w\b)", " ", name)
        yield re.sub(r"(?<=\b\w)\.(?=\w\.)", ". ", name)


def elided_articles(name, film):
    for found in re.finditer(r"\b(l|d|j|c)'(?=\w)", name, re.I):
        for other in ("\u2019", " ", ""):
            yield name[: found.end() - 1] + other + name[found.end() :]


def run_together(name, film):
    yield name.replace(" ", "")


def without_accents(name, film):
    letters = unicodedata.normalize("NFKD", name)
    yield "".join(letter for letter in letters if not unicodedata.combining(letter))


def other_letters(name, film):
    for plainly, letter in LETTERS.items():
        yield name.replace(plainly, letter)


def fractions(name, film):
    for spelled, sign in FRACTIONS.items():
        yield name.replace(spelled, sign)
        yield name.replace(f" {spelled}", sign)


def other_names(name, film):
    yield from split_title(film["title"])[0][1:]


def year(name, film):
    if film["year"]:
        yield from (f"{name} {film['year']}", f"{name} ({film['year']})")


def two_digit_year(name, film):
    if film["year"]:
        short = f"{film['year'] % 100:02}"
        yield from (f"{name} {short}", f"{name} '{short}")


def abbreviations(name, film):
    for long, short in SHORT.items():
        if len(long) > len(short) and not short[0].isdigit():
            yield re.sub(rf"\b{long}\b", f"{short}.", name, flags=re.I)
            yield re.sub(rf"\b{short}\b\.?", long, name, flags=re.I)


def before_the_colon(name, film):
    yield from name_parts(name)[:1]


def one_letter_wrong(name, film):
    chance = random.Random(film["movie_id"])
    if len(plain(name)) > 4:
        i, letter = chance.randrange(len(name)), chance.choice(string.ascii_lowercase)
        yield name[:i] + chance.choice(["", letter]) + name[i + 1 :]


def two_letters_swapped(name, film):
    chance = random.Random(-film["movie_id"])
    if len(plain(name)) > 4:
        i = chance.randrange(len(name) - 1)
        yield name[:i] + name[i + 1] + name[i] + name[i + 2 :]


# The least shares, first and in five: what was reached when this was written.
KINDS = {
    as_it_is: (1, 1),
    in_small_letters: (1, 1),
    whole_title: (1, 1),
    without_the_article: (1, 1),
    article_behind: (1, 1),
    and_and_its_sign: (1, 1),
    numerals: (1, 1),
    without_punctuation: (1, 1),
    spaces_for_punctuation: (1, 1),
    other_apostrophes: (1, 1),
    initials: (1, 1),
    elided_articles: (1, 1),
    run_together: (1, 1),
    without_accents: (1, 1),
    other_letters: (1, 1),
    fractions: (1, 1),
    other_names: (1, 1),
    year: (1, 1),
    two_digit_year: (1, 1),
    abbreviations: (1, 1),
    before_the_colon: (1, 1),
    one_letter_wrong: (0.985, 0.997),
    two_letters_swapped: (0.998, 0.999),
}


@pytest.fixture(scope="module")
def catalogue(dataset):
    "The films of MovieLens 100k."
    return build_catalogue(dataset.movies, dataset.ratings, dataset.genres)


@pytest.fixture(scope="module")
def called(catalogue):
    "For each film, the forms of its names and of what stands before a colon."
    names = [split_title(title)[0] for title in catalogue.titles]
    names = [[*some, *name_parts(some[0])[:1]] for some in names]
    return [{without_article(f) for n in some for f in name_forms(n)} for some in names]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_a_way_to_write_titles_leads_to_the_film(kind, catalogue, called):
    asked = first = in_five = 0
    lost = []
    for row, film in enumerate(catalogue.records):
        name = split_title(film["title"])[0][0]
        queries = set(kind(name, film)) - ({name} if kind is not as_it_is else set())
        for query in sorted(queries):
            rows = catalogue.search(query, 5)[0].tolist()
            fits = [bool(called[found] & called[row]) for found in rows]
            asked, in_five = asked + 1, in_five + any(fits)
            first += fits[:1] == [True]
            if fits[:1] != [True]:
                lost.append((query, [catalogue.titles[found] for found in rows[:2]]))
    print(f"{asked} queries: {first / asked:.2%} first, {in_five / asked:.2%} in five")
    print(*lost[:20], sep="\n")
    least_first, least_in_five = KINDS[kind]
    assert first >= least_first * asked and in_five >= least_in_five * asked


def test_a_name_with_one_letter_wrong_leads_to_the_films_of_its_person(catalogue):
    films = catalogue.people.group_by("name").agg("row").sort("name")
    asked = found = 0
    for name, rows in films.filter(pl.col("row").list.n_unique() > 4).iter_rows():
        for query in one_letter_wrong(name, {"movie_id": asked}):
            near = catalogue.search(query, 5)[0].tolist()
            asked, found = asked + 1, found + bool(set(near) & set(rows))
    print(f"{asked} queries: {found / asked:.2%} in five")
    assert asked > 200 and found >= 0.98 * asked


def test_every_kind_has_its_queries(catalogue):
    for kind in KINDS:
        names = [split_title(film["title"])[0][0] for film in catalogue.records]
        films = zip(names, catalogue.records, strict=True)
        queries = {q for n, film in films for q in kind(n, film) if q != n}
        assert kind is as_it_is or len(queries) >= 3, kind
