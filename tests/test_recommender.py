"Whatever is asked or brought: a right answer, or an error that names what is wrong."

import os
import random
import re
import subprocess
import sys

import polars as pl
import pytest
from conftest import UNUSUAL, table
from hypothesis import given, settings
from hypothesis import strategies as st

from movierec.config import MovierecError, QueryError
from movierec.recommender import Recommender, UserNotFound
from movierec.similarity import METHODS

# Lists of similar films


@pytest.mark.parametrize(
    ("question", "words"),
    [
        ({"k": 0}, "k is 0"),
        ({"k": "ten"}, "k is 'ten'"),
        ({"k": 1.5}, "k is 1.5"),
        ({"k": True}, "k is True"),
        ({"k": None}, "k is None"),
        ({"method": "euclid"}, "method 'euclid'"),
        ({"method": 5}, "method 5"),
        ({"genres": "Comedy"}, "genres is 'Comedy'"),
        ({"genres": ["Comedie"]}, "did you mean Comedy"),
        ({"genres": [None]}, "genre None"),
        ({"years": (1999, 1990)}, "the first year is after the last"),
        ({"years": ("1990", "1999")}, "years is ('1990', '1999')"),
        ({"diversity": 1.01}, "diversity is 1.01"),
        ({"diversity": True}, "diversity is True"),
        ({"movie": "Fargoo"}, "no movie is called 'Fargoo'"),
        ({"movie": 0}, "there is no movie with id 0"),
    ],
    ids=str,
)
def test_a_question_that_cannot_be_answered_is_refused_by_name(
    question, words, recommender
):
    with pytest.raises(QueryError, match=re.escape(words)) as error:
        recommender.similar(**{"movie": 1} | question)
    assert [error.value.parameter] == list(question)


SOME_YEARS = st.none() | st.tuples(
    st.none() | st.integers(1920, 1960), st.none() | st.integers(1960, 2000)
)


@settings(max_examples=60)
@given(data=st.data())
def test_a_filtered_answer_is_the_whole_answer_filtered_then_cut(data, recommender):
    movie_id = data.draw(st.integers(1, 1682))
    method = data.draw(st.sampled_from(list(METHODS)))
    k = data.draw(st.sampled_from([1, 10, 2000]))
    some = st.lists(st.sampled_from(recommender.catalogue.genres), max_size=3)
    genres, years = data.draw(st.none() | some), data.draw(SOME_YEARS)
    # doubles differ in nothing that is filtered by, so a film's best entry stays
    wanted = recommender.similar(movie_id, 2000, method).frame
    if genres:
        shared = pl.col("genres").list.set_intersection(genres)
        wanted = wanted.filter(shared.list.len() > 0)
    if years is not None:
        low, high = years[0] or 0, years[1] or 9999
        wanted = wanted.filter(pl.col("year").is_between(low, high))  # unknown: never
    wanted = wanted.head(k)
    found = recommender.similar(movie_id, k, method, genres, years).frame
    assert found.drop("rank").equals(wanted.drop("rank"))
    assert found["rank"].to_list() == list(range(1, len(wanted) + 1))


def films(results):
    "What tells the listed films from each other."
    return [(item["title"], item["year"]) for item in results.items]


@pytest.mark.parametrize("method", METHODS)
def test_no_list_holds_a_film_twice_or_the_film_itself(method, recommender):
    for movie_id, title, year in recommender.movies.select(
        "movie_id", "title", "year"
    ).iter_rows():
        listed = films(recommender.similar(movie_id, 12, method))
        assert len(set(listed) | {(title, year)}) == len(listed) + 1


@pytest.mark.parametrize("diversity", [0.3, 1])
def test_a_diverse_list_holds_each_film_once_too(diversity, recommender):
    for movie_id in (100, 268, 246, 1, 1680):
        listed = films(recommender.similar(movie_id, 300, diversity=diversity))
        assert len(set(listed)) == len(listed) > 200


@pytest.mark.parametrize("method", METHODS)
def test_a_film_of_which_nothing_is_known_is_like_nothing(method):
    movies = table(genres=[[], ["x"], []], cast=[[], ["A"], []])
    rec = Recommender.from_tables(movies)
    assert [len(rec.similar(movie, 5, method)) for movie in (1, 2, 3)] == [0, 0, 0]
    assert rec.explain(1, 3, method).score == 0


# Search goes where it should; what it finds is tested with the titles


@pytest.mark.parametrize("text", ["love", "star"])
def test_a_filtered_search_is_the_whole_search_filtered(text, recommender):
    whole = recommender.search(text, 2000).frame
    filters = {"genres": ["Comedy", "Drama"], "years": (1990, 1996)}
    found = recommender.search(text, 2000, **filters).frame
    some = pl.col("genres").list.set_intersection(filters["genres"]).list.len() > 0
    wanted = whole.filter(some & pl.col("year").is_between(1990, 1996))
    assert found.drop("rank").equals(wanted.drop("rank"))
    assert 0 < len(found) < len(whole)


# Explanations


@pytest.mark.parametrize("method", METHODS)
def test_explanations_add_up_to_the_score(method, recommender):
    chance = random.Random(0)
    pairs = [(chance.randint(1, 1682), chance.randint(1, 1682)) for _ in range(300)]
    for movie, other in [*pairs, (267, 1), (1, 267), (267, 267), (5, 5)]:
        explained = recommender.explain(movie, other, method)
        parts = explained.frame["contribution"]
        assert abs(parts.sum() - explained.score) < 1e-12 and (parts >= 0).all()
        both = explained.frame.filter(pl.col("value") == "both")["name"]
        shared = set(explained.movie["genres"]) & set(explained.other["genres"])
        genres = [name for name in both if name in recommender.catalogue.genres]
        assert set(genres) == shared
        assert method == "content" or len(genres) == len(both)
        assert explained.score == recommender.explain(other, movie, method).score


@pytest.mark.parametrize("method", METHODS)
def test_the_explained_score_is_the_listed_one(method, recommender):
    for movie in (1, 50, 267, 1682):
        for item in recommender.similar(movie, 20, method).items:
            explained = recommender.explain(movie, item["movie_id"], method)
            assert (explained.score, explained.why) == (item["score"], item["why"])


# Answers and recommenders as values


def test_answers_share_nothing_with_the_model(recommender):
    def ask():
        liked = recommender.recommend({50: 5}, 3)
        pair = recommender.explain(50, 100)
        return [recommender.similar(50, 3), recommender.search("fargo", 3), liked, pair]

    before = [answer.to_dict() for answer in ask()]
    for answer in ask():
        content = answer.to_dict()
        for record in (content["movie"], *content.get("items", ())):
            if "genres" in (record or {}):
                record["genres"].append("changed")
        if hasattr(answer, "items"):
            answer.items[0]["genres"].append("changed")
    recommender.ratings_of(1).clear()
    assert [answer.to_dict() for answer in ask()] == before
    assert len(recommender.ratings_of(1)) > 100


def test_recommenders_and_answers_can_be_compared_and_hashed(recommender):
    other = Recommender.from_tables(table())
    assert recommender == recommender and recommender != other
    assert len({recommender, other, recommender}) == 2
    assert recommender.similar(1, 3) == recommender.similar(1, 3)
    assert len({recommender.similar(1, 3), recommender.similar(1, 3)}) == 1


# Loading


def test_a_loaded_recommender_answers_as_the_one_in_memory(recommender, trained_root):
    loaded = Recommender.load(root=trained_root)
    assert loaded.movies.equals(recommender.movies)
    for movie in range(1, 1683, 40):
        for method in METHODS:
            its = loaded.similar(movie, 50, method)
            assert its.frame.equals(recommender.similar(movie, 50, method).frame)


def test_loading_and_answering_import_none_of_the_slow_libraries(trained_root):
    script = """
import sys
from movierec.recommender import Recommender
rec = Recommender.load(root=sys.argv[1])
rec.similar("Fargo (1996)", 5, "jaccard", ["Drama"], (1990, 1999))
rec.search("matrx"), rec.explain(1, 50), rec.recommend({50: 5}, diversity=0.5)
found = rec.similar(1)
print(repr(found), found._repr_markdown_(), found.to_dict(), file=sys.stderr)
slow = {"sklearn", "pandas", "matplotlib", "numba", "pyarrow"}
print(*sorted(slow & sys.modules.keys()))
"""
    command = [sys.executable, "-c", script, str(trained_root)]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=60, env=os.environ
    )
    assert (done.returncode, done.stdout) == (0, "\n"), done.stderr[-2000:]


# People


@pytest.mark.parametrize("user", [0, 944, -1, 10**30, "405", 1.0, None, True])
def test_an_unknown_user_is_named(user, recommender):
    with pytest.raises(UserNotFound, match="expected a number from 1 to 943") as error:
        recommender.recommend_for_user(user)
    assert error.value.parameter == "user_id"


# A catalogue of one's own


def ask_everything(rec):
    "Ask for everything there is to ask."
    for movie_id in rec.movies["movie_id"]:
        for method in rec.neighbours:
            rec.similar(movie_id, 5, method).to_dict()
        some = rec.catalogue.genres[:1]
        rec.similar(movie_id, 5, genres=some, years=(None, 2000), diversity=0.5)
        rec.explain(movie_id, movie_id)
    rec.search("one"), rec.find("One (1990)")


@pytest.mark.parametrize(
    "options",
    [
        {"year_weight": 0},
        {"year_weight": 0.001},
        {"year_weight": 1.01},
        {"year_weight": float("nan")},
        {"year_weight": "heavy"},
        {"year_weight": None},
        {"methods": ()},
        {"methods": "cosine"},
        {"methods": ("euclid",)},
        {"default_method": "euclid"},
        {"methods": ("jaccard",), "default_method": "cosine"},
        {"genres": ["x"]},
        {"genres": ["x", "y", "y"]},
    ],
    ids=str,
)
def test_an_option_that_is_not_what_it_should_be_is_refused(options):
    with pytest.raises(MovierecError):
        Recommender.from_tables(table(), **options)


@pytest.mark.parametrize("changes", UNUSUAL, ids=str)
def test_unusual_tables_are_fine(changes):
    rated = pl.DataFrame({"movie_id": [2, 2, 99]}, schema={"movie_id": pl.Int64})
    rec = Recommender.from_tables(table(**changes), rated)
    ask_everything(rec)
    for movie_id, title in rec.movies.select("movie_id", "title").iter_rows():
        assert title not in rec.similar(movie_id, 5).frame["title"]
        assert rec.movies["movie_id"][rec.find(movie_id)[0]] == movie_id


def test_one_movie_has_no_neighbours():
    rec = Recommender.from_tables(table().head(1))
    assert len(rec.similar(1)) == 0 and rec.similar(1).to_dict()["items"] == []
