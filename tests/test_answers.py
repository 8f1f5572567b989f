"Lists and explanations: what they hold, what they share with nobody, and their sums."

import re

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from movierec.answers import (
    RESULT_COLUMNS,
    Results,
    explain_recommendation,
    explain_similarity,
    make_items,
    markdown_table,
    whys_recommended,
)
from movierec.config import escape_controls

MOVIE = {"movie_id": 1, "title": "A", "year": 1990, "genres": ["x"], "n_ratings": 7}
OTHER = {"movie_id": 2, "title": "B", "year": None, "genres": ["x", "y"]}


def answer(version="v1.0.0", movie=MOVIE, scores=(1, 0.5), notes=()):
    "A list of two movies."
    return Results(version, movie, make_items([MOVIE, OTHER], scores, ["", ""]), notes)


# Lists


def test_equal_answers_are_equal_and_have_one_hash():
    assert answer() == answer() and hash(answer()) == hash(answer())
    assert len({answer(), answer()}) == 1
    changes = [
        {"version": "v1.0.1"},
        {"movie": None},
        {"scores": (1, 0)},
        {"notes": ("x",)},
    ]
    for change in changes:
        assert answer(**change) != answer()
    assert hash(answer(version="v1.0.1")) != hash(answer())
    assert hash(answer(scores=(1, 0))) != hash(answer())
    assert answer() != "an answer"


def test_items_have_the_columns_and_nothing_else():
    for item in answer().items:
        assert list(item) == list(RESULT_COLUMNS)
    assert answer().frame.schema == pl.Schema(RESULT_COLUMNS)
    assert answer().frame.to_dicts() == answer().to_dict()["items"]
    assert Results("v", None, []).frame.schema == pl.Schema(RESULT_COLUMNS)
    assert answer().frame["rank"].to_list() == [1, 2]
    with pytest.raises(ValueError):
        make_items([MOVIE], [1, 2], ["", ""])


def test_an_answer_shares_nothing_with_what_it_was_made_from():
    movie = {**MOVIE, "genres": ["x"]}
    results = Results("v", movie, make_items([movie], [1], [""]))
    results.items[0]["genres"].append("y")
    assert movie["genres"] == ["x"]
    given = results.to_dict()
    given["items"][0]["genres"].clear()
    given["items"][0]["title"] = "?"
    given["movie"]["genres"].clear()
    assert results.items[0]["genres"] == ["x", "y"] and results.movie["genres"] == ["x"]
    assert results.items[0]["title"] == "A"


@settings(max_examples=100)
@given(text=st.text(st.characters(exclude_categories=["Cs"])))
def test_any_text_stays_in_its_cell(text):
    lines = markdown_table([{"a": text, "b": [text, text]}], ["a", "b"]).split("\n")
    assert len(lines) == 3
    assert len(re.findall(r"(?<!\\)\|", lines[2].replace("\\\\", ""))) >= 3
    assert lines[2].replace("\\|", "").count("|") == 3
    items = make_items([{**MOVIE, "title": text}], [1], ["{title}"])
    assert escape_controls(text) in repr(Results("v", None, items))


# Explanations

FLAGS = st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=6)


@settings(max_examples=100)
@given(flags=FLAGS, years=st.tuples(*[st.sampled_from([0.0, 0.05, 0.1])] * 2))
def test_the_parts_of_a_cosine_add_up_and_say_who_has_what(flags, years):
    names = [f"g{i}" for i in range(len(flags))] + ["year"]
    a, b = np.array([*flags, years], dtype=float).T
    terms = a * b / ((np.linalg.norm(a) * np.linalg.norm(b)) or 1)
    explained = explain_similarity(MOVIE, OTHER, "m", terms.sum(), names, a, b, terms)
    frame = explained.frame
    assert abs(frame["contribution"].sum() - explained.score) < 1e-12
    assert frame["contribution"].is_sorted(descending=True)
    said = dict(frame.select("name", "value").iter_rows())
    words = {(1, 1): "both", (1, 0): "only A", (0, 1): "only B"}
    expected = {n: words[f] for n, f in zip(names, flags, strict=False) if any(f)}
    assert said == expected | {"year": "1990 and unknown"}
    assert (explained.method, explained.why) == ("m", "both x; also y")


def test_a_feature_that_is_named_like_words_of_the_record_is_a_flag():
    ones = np.ones(2)
    names = ["title", "genres"]
    explained = explain_similarity(MOVIE, OTHER, "m", 1.0, names, ones, ones, ones / 2)
    assert explained.frame["value"].to_list() == ["both", "both"]


@settings(max_examples=100)
@given(
    parts=st.lists(
        st.tuples(st.sampled_from([0.5, 3, 4, 5]), st.floats(-1, 1)), max_size=5
    ),
    baseline=st.floats(-1, 1),
    learned=st.booleans(),
)
def test_the_parts_of_a_recommendation_add_up(parts, baseline, learned):
    titles = [f"T{i}" for i in range(len(parts))]
    stars, added = np.array(parts, dtype=float).reshape(-1, 2).T
    score = added.sum() + baseline
    explained = explain_recommendation(
        MOVIE, titles, stars, added, baseline, learned, score
    )
    assert abs(explained.frame["contribution"].sum() - score) < 1e-9
    assert explained.frame["contribution"].is_sorted(descending=True)
    assert (explained.method, explained.other) == ("taste", None)
    listed = whys_recommended(
        titles, stars, added[:, None], np.array([baseline]), np.array([learned])
    )
    assert listed == [explained.why]
    assert ("what is known of it alone" in explained.why) == (not learned)
    given = dict(explained.frame.select("name", "value").iter_rows())
    assert given == {
        **{t: f"{n:g} of 5 stars" for t, n in zip(titles, stars, strict=True)},
        "popularity": "counts less the more is rated",
    }


@pytest.mark.parametrize(
    ("stars", "added", "baseline", "why"),
    [
        ([4, 4], [1, 3], 0, "because you liked B"),
        ([4, 4], [3, 3], 0, "because you liked A"),  # the first of equals
        ([4.5, 4], [3, 1], 0, "because you loved A"),
        ([5, 3.5], [1, 3], 0, "because you rated B"),
        ([5, 2.5], [1, 3], 0, "because you loved A"),  # what is disliked is no reason
        ([4], [2], 1, "because you liked A"),
        ([4], [2], 1.01, "because you liked A; popular"),
        ([1, 1], [-1, -2], 0.1, "popular"),
        ([1], [-1], 0, "nothing speaks for it"),
        ([5] * 4, [1, 2, 2, 2], 0, "because you loved B"),
    ],
)
def test_the_sentence_names_what_counts(stars, added, baseline, why):
    titles = list("ABCD"[: len(stars)])
    said = whys_recommended(
        titles,
        np.array(stars),
        np.array(added, dtype=float)[:, None],
        np.array([baseline]),
        np.array([True]),
    )
    assert said == [why]


def test_explanations_can_be_compared_and_hashed():
    one = explain_similarity(MOVIE, OTHER, "m", 0.0, [], *np.zeros((3, 0)))
    assert one == one and len({one}) == 1
    given = one.to_dict()
    given["movie"]["genres"].clear()
    assert one.movie["genres"] == ["x"] and given["items"] == []
