"""What a request may cost: counted in names compared, films looked up and records made,
not in time. And the search that skips what can't win finds what a full one finds."""

import os
import random

import numpy as np
import pytest
from rapidfuzz.distance import OSA

from movierec import catalogue as catalogue_module
from movierec import titles
from movierec.api import MOST_LETTERS, MOST_TITLES
from movierec.catalogue import Catalogue, build_catalogue
from movierec.config import load_config
from movierec.recommender import PICKED_FROM
from movierec.serving import load_model
from movierec.titles import (
    MAX_NAME_LENGTH,
    TitleIndex,
    count_letters,
    list_forms,
    name_forms,
    plain,
    split_title,
    squeeze,
    title_names,
    without_article,
)
from movierec.web import create_app
from tests.test_search_kinds import KINDS

SEARCHES = int(os.environ.get("SEARCHES", 60))  # that are compared with the slow one
LIGATURE = "\ufdfa"  # one character, and eighteen letters
LONG_WORDS = "story night world house women black white death summer little return"


@pytest.fixture(scope="module")
def catalogue(dataset):
    "The films of MovieLens 100k."
    return build_catalogue(dataset.movies, dataset.ratings, dataset.genres)


@pytest.fixture(scope="module")
def client(trained_root):
    "A client of the application that serves them."
    config = load_config(model={"dir": str(trained_root)}, logging={"level": "WARNING"})
    return create_app(config).test_client()


@pytest.fixture
def count(monkeypatch):
    "Count how often a function is called, and with what."

    def watch(owner, name):
        calls, function = [], getattr(owner, name)

        def watched(*args, **options):
            calls.append(args)
            return function(*args, **options)

        monkeypatch.setattr(owner, name, watched)
        return calls

    return watch


def draw_queries(catalogue, n, seed=0):
    "What n people might type: every kind of spelling, beginnings, words, nonsense."
    chance, kinds, found = random.Random(seed), list(KINDS), list[str]()
    while len(found) < n:
        film, other = chance.choices(catalogue.records, k=2)
        name, small = split_title(film["title"])[0][0], film["title"].lower()
        spelled = [q for kind in chance.choices(kinds, k=3) for q in kind(name, film)]
        words = chance.sample(small.split(), min(2, len(small.split())))
        year = chance.choice(["", " movie", " 1990", " (1990) x"])
        letters = chance.choices("etaoinshr dlu", k=chance.randrange(1, 20))
        found += [
            *chance.sample(spelled, min(2, len(spelled))),
            small[: chance.randrange(1, 12)],
            " ".join(words),
            f"{name} {other['title'][: chance.randrange(9)]}{year}",
            "".join(letters),
        ]
    return found[:n]


# The slow search: each name is compared with the query, as the chapter says in words


def slow_begin(query, form, weight):
    "How a name fits that is the query, or begins with it."
    best = 0
    for text in {query, without_article(query)}:
        for begun in {form, without_article(form)}:
            less = text != query
            if squeeze(begun) == squeeze(text):
                best = max(best, weight - 0.01 * (less or begun != form))
            elif squeeze(begun).startswith(squeeze(text)):
                part = not f"{begun} ".startswith(f"{text} ")
                best = max(best, 0.95 - 0.01 * part - 0.03 * less)
    return best


def slow_words(query, form):
    "How a name fits that has the words of the query."
    *words, last = query.split()
    ends = [word for word in form.split() if word.startswith(last)]
    if not ends or not set(words) <= set(form.split()):
        return 0
    unfinished, typed = min(map(len, ends)) - len(last), len(squeeze(query))
    if typed < 0.6 * (typed + unfinished):
        return 0
    together = f" {query}" in f" {form}"
    return 0.9 + 0.01 * together + 0.01 * (together and not unfinished)


def alike(one, other):
    "How alike two texts are, 0 if they are not near."
    return OSA.normalized_similarity(one, other, score_cutoff=0.72)


def slow_near(query, form, weight):
    "How a name fits that is nearly the query."
    words, has, best = query.split(), form.split(), 0.0
    letters = np.array([len(word) for word in words])
    fits = np.array(
        [
            max((alike(w, h) for h in has), default=0) if len(w) > 4 else w in has
            for w in words
        ],
        dtype=float,
    )
    if len(words) <= titles.MOST_WORDS:
        inside = len(squeeze(form)) / letters.sum()
        if fits.all():
            best = fits @ letters / letters.sum() - 0.03
        elif set(without_article(form).split()) <= set(words) and inside >= 0.5:
            best = 0.6 + 0.25 * inside
    for text in {squeeze(query), squeeze(without_article(query))}:
        for begun in {form, without_article(form)} if len(text) > 2 else ():
            best = max(best, weight * alike(text, squeeze(begun)))
    return 0.89 * best if best >= 0.72 - 1e-7 else 0


def slow_search(index, text):
    "The scores of all names by comparing each in full; (names,)."
    names, readings = index.names, list_forms(text)
    years = index.years[names.rows]

    def best_of(way):
        found = np.zeros(len(names.forms))
        for query, allowed in readings:
            facts = zip(names.forms, names.weights.tolist(), years, strict=True)
            for i, (form, weight, year) in enumerate(facts):
                score = way(query, form, weight)
                less = 0.1 if score and allowed and year not in allowed else 0
                found[i] = max(found[i], score - less)
        return found.round(2)

    scores = best_of(lambda q, f, w: max(slow_begin(q, f, w), slow_words(q, f)))
    if scores.max(initial=0) < 0.97:
        scores = np.maximum(scores, best_of(slow_near))
    return scores


def test_what_is_skipped_could_not_win(catalogue):
    "A search finds the names, with the scores, that a comparison of all names finds."
    rows = np.arange(0, len(catalogue.titles), 4)  # of every fourth film: it is slow
    small = build_catalogue(catalogue.movies[rows.tolist()])
    index, wrong, near = small.title_index, [], 0
    for text in draw_queries(small, SEARCHES):
        scores = slow_search(index, text)
        ranked = titles.rank_names(scores, index.names.rows, index.tie_place)
        expected = titles.first_of_each(ranked, index.film_of[index.names.rows])
        found, fits = index.find_all(text)
        if found.tolist() != expected.tolist() or (fits != scores[expected]).any():
            wrong.append((text, found[:3], expected[:3]))
        near += 0 < fits.max(initial=0) < 0.9
    assert not wrong and near > SEARCHES / 30


def test_what_can_be_near_is_never_left_out(catalogue):
    keys = catalogue.title_index.names.beginnings.keys
    spelled, chance = catalogue.title_index.names.spelled_keys, random.Random(1)
    for key in chance.sample(keys, 4 * SEARCHES):
        letters = list(key)
        for _ in range(chance.randrange(1 + len(key) // 3)):  # errors of all kinds
            i, letter = chance.randrange(len(letters) + 1), chance.choice("aest\u00e9")
            letters[i : i + chance.randrange(3)] = chance.choice(
                [[], [letter], letters[i : i + 2][::-1]]
            )
        text = "".join(letters)
        may = {spelled.texts[i] for i in titles.may_be_near(text, spelled)}
        assert {other for other in set(keys) if alike(text, other)} <= may


def made_up(catalogue, n):
    "A catalogue of n films whose titles are made of the words of others."
    chance = random.Random(2)
    words = [word for title in catalogue.titles for word in title[:-7].split()]
    lengths = [max(2, len(title.split()) - 1) for title in catalogue.titles]
    drawn = [chance.choices(words, k=chance.choice(lengths)) for _ in range(n)]
    names = [f"{' '.join(some)} ({chance.randrange(1930, 2000)})" for some in drawn]
    movies = catalogue.movies[np.arange(n) % len(catalogue.titles)]
    ids = np.arange(1, n + 1)
    return build_catalogue(
        movies.with_columns(movie_id=ids, title=np.array(names), n_ratings=ids[::-1])
    )


def test_few_names_are_compared_letter_by_letter(catalogue, count):
    large = made_up(catalogue, 5000)
    compared = count(titles.process, "cdist")
    names = large.title_index.names
    n_keys, shares = len(names.beginnings.keys), []
    for text in [*draw_queries(large, 100), LONG_WORDS, "e" * 200, "the tehre"]:
        compared.clear()
        large.search(text, 10)
        forms = {form for form, _ in list_forms(text)}
        if forms:
            looked_at = sum(len(choices) for _, choices in compared)
            shares.append(looked_at / len(forms) / n_keys)
    print(f"{np.mean(shares):.3%} of the names, at most {max(shares):.1%}")
    assert np.mean(shares) < 0.01 and max(shares) < 0.1


# Limits


@pytest.mark.parametrize("text", [LIGATURE * 200, LIGATURE * 12, "x" * 201, "a " * 200])
def test_a_text_that_is_long_when_written_out_is_read_no_further(
    text, catalogue, count
):
    forms = count(titles, "name_forms"), count(titles, "readings")
    assert count_letters(text) > MAX_NAME_LENGTH
    assert len(catalogue.search(text, 10)[0]) == 0 and forms == ([], [])
    assert catalogue.title_index.rows_called(text) == [] and forms == ([], [])


@pytest.mark.parametrize(
    ("address", "body"),
    [
        (f"/api/v1/movies?q={LIGATURE * 12}", None),
        (f"/api/v1/movies/{LIGATURE * 12}", None),
        (f"/movies/{LIGATURE * 12}", None),
        (f"/map?film={LIGATURE * 12}", None),
        ("/api/v1/matches", {"names": [LIGATURE * 12] * 200}),
        ("/api/v1/recommendations", {"ratings": {LIGATURE * 12: 5}}),
        ("/api/v1/recommendations", {"ratings": {}, "exclude": [LIGATURE * 12]}),
        ("/for-you/films", {"q": LIGATURE * 12}),
    ],
)
def test_limits_are_those_of_the_text_written_out(address, body, client, count):
    read = count(titles, "readings")
    answer = client.post(address, json=body) if body else client.get(address)
    assert answer.status_code in (400, 404) and read == []
    assert "216 letters" in answer.text


def test_the_search_page_reads_the_first_two_hundred_letters(client, count):
    read = count(titles, "readings")
    page = client.get(f"/?q={'%EF%B7%BA' * 150}")
    assert page.status_code == 200
    assert read and max(len(text) for (text,) in read) <= MAX_NAME_LENGTH
    assert client.get(f"/?q={'x' * 500}").status_code == 200
    assert max(len(text) for (text,) in read) == MAX_NAME_LENGTH


def send(client, **body):
    "What the API says to a body."
    return client.post("/api/v1/recommendations", json={"ratings": {}} | body)


def test_two_thousand_ids_are_looked_up_and_no_title_is(client, catalogue, count):
    read, doubles = count(titles, "readings"), count(titles, "note_on_doubles")
    ids = [str(movie_id) for movie_id in catalogue.row_of]
    many = [*ids, *(f"0{movie_id}" for movie_id in ids)][:2000]
    assert send(client, exclude=many).status_code == 200
    assert send(client, ratings=dict.fromkeys(ids[:-1], 4)).status_code == 200
    assert (read, doubles) == ([], [])
    answer = send(client, ratings=dict.fromkeys(ids[:1000], 4), exclude=many[:1001])
    assert answer.status_code == 400 and "names 2,001 movies" in answer.text


@pytest.mark.parametrize("parameter", ["ratings", "exclude"])
def test_more_titles_than_two_hundred_are_refused_unread(
    parameter, client, catalogue, count
):
    names = catalogue.titles[: MOST_TITLES + 1]
    body = {parameter: dict.fromkeys(names, 4) if parameter == "ratings" else names}
    searched, called = count(TitleIndex, "find"), count(TitleIndex, "rows_called")
    answer = send(client, **body)
    assert answer.status_code == 400 and (searched, called) == ([], [])
    assert answer.json["errors"][0]["parameter"] == parameter
    assert "201 movies by title" in answer.text and "at most 200" in answer.text
    long = [f"{i} {'x' * 190}" for i in range(MOST_LETTERS // 190)]
    body = {parameter: dict.fromkeys(long, 4) if parameter == "ratings" else long}
    assert "10,000 letters" in send(client, **body).text and called == []


def test_titles_of_both_lists_count_together(client, catalogue):
    names = catalogue.titles[:MOST_TITLES]
    ratings, exclude = dict.fromkeys(names[:120], 4), names[120:]
    assert send(client, ratings=ratings, exclude=exclude).status_code == 200
    answer = send(client, ratings=ratings, exclude=[*exclude, "Fargo"])
    assert answer.status_code == 400 and "201 movies by title" in answer.text


def test_the_first_fault_ends_the_work(client, catalogue, count):
    found, searched = count(TitleIndex, "find"), count(TitleIndex, "find_all")
    names = [*catalogue.titles[:5], *(f"no film {i}" for i in range(100))]
    assert "no film 0" in send(client, exclude=names).text
    assert len(found) == 6 and len(searched) == 1


def test_matches_are_looked_up_and_never_searched(client, count):
    searched, copied = count(TitleIndex, "find_all"), count(Catalogue, "record")
    names = [f"the star {i} (1990)" for i in range(100)] + ["Fargo"] * 100
    answer = client.post("/api/v1/matches", json={"names": names})
    assert answer.status_code == 200 and searched == []
    assert len(copied) == 100  # the films that were found
    long = [f"{i} {'x' * 190}" for i in range(MOST_LETTERS // 190)]
    assert "10,000" in client.post("/api/v1/matches", json={"names": long}).text


# What is made for an answer


@pytest.mark.parametrize(
    ("address", "most"),
    [("/api/v1/movies?q=the", 20), ("/?q=the&genre=Drama", 36), ("/?q=t", 36)],
)
def test_only_what_is_shown_is_made(address, most, client, count):
    copied = count(catalogue_module, "copy_record")
    assert client.get(address).status_code == 200
    assert 0 < len(copied) <= most


@pytest.mark.parametrize("method", ["cosine", "content", "liked"])
def test_different_films_are_picked_from_the_best_two_hundred(
    method, recommender, count
):
    near = recommender.neighbours[method]
    each, one = count(type(near), "compare_each"), count(type(near), "score")
    listed = recommender.similar(50, 100, method, diversity=0.5)
    assert [len(rows) for _, rows in each] == [PICKED_FROM] and one == []
    best = recommender.similar(50, PICKED_FROM, method).items
    ids = {item["movie_id"] for item in best}
    assert {item["movie_id"] for item in listed.items} <= ids
    assert len(recommender.similar(50, 300, method, diversity=0.5)) == 300


def test_nothing_is_made_for_the_first_who_asks(trained_root):
    rec = load_model(trained_root).recommender
    films = rec.catalogue
    things = [
        films,
        films.title_index,
        films.title_index.names,
        rec.likeness,
        rec.taste,
    ]
    made = [set(vars(thing)) for thing in things]
    rec.search("teh godfather"), rec.search("hitchcock")
    rec.recommend({"Fargo": 5, 50: 4}), rec.similar("Fargo", 100, "liked")
    assert [set(vars(thing)) for thing in things] == made


def test_names_are_kept_as_they_are_read(catalogue):
    "The slow search above and the quick one read the same forms of names."
    forms = {f for title in catalogue.titles for n in title_names(title)
             for f in name_forms(n)}  # fmt: skip
    assert forms <= set(catalogue.title_index.names.forms)
    assert all(plain(form) == form for form in forms)
