"The index against slower ways to the same answer: on every movie of MovieLens 100k, and on random catalogues."

import math
from fractions import Fraction
from statistics import median_low

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from movierec.features import build_features
from movierec.neighbours import (
    STORED,
    Neighbours,
    compiled_search,
    draw_catalogue,
    grouped,
    nearest_lists,
    search,
)
from movierec.recommender import Recommender, with_rating_counts
from movierec.similarity import (
    QueryError,
    SimilarityIndex,
    cosine_matrix,
    jaccard_matrix,
    oracle,
    rank_exactly,
    tie_order,
    whole_vector,
    year_step,
)

METHODS = ("cosine", "jaccard")


def build_index(features, counted):
    "The index over all movies of `features`, which have n_ratings and movie_id."
    order = tie_order(counted["n_ratings"].to_numpy(), counted["movie_id"].to_numpy())
    return SimilarityIndex.build(features.genre_flags, features.years, features.year_weight, order)


class Reference:
    """The ranking by definition, in Python integers and straight from the tables: no code of the package.

    A genre counts 10 * span, a year after the earliest 1: the feature matrix of year weight 0.1, times 10 * span.
    """

    def __init__(self, movies, n_ratings):
        years = movies["year"].to_list()
        median = median_low(year for year in years if year is not None)
        years = [median if year is None else year for year in years]
        bit = {genre: 1 << j for j, genre in enumerate(sorted(set(movies["genres"].explode())))}
        genres = [sum(bit[genre] for genre in names) for names in movies["genres"].to_list()]
        self.films = [(g, year - min(years)) for g, year in zip(genres, years, strict=True)]
        self.unit = (10 * (max(years) - min(years))) ** 2
        ids = movies["movie_id"].to_list()
        self.in_tie_order = sorted(range(len(ids)), key=lambda i: (-n_ratings[i], ids[i]))
        self.memo = {}

    def length2(self, film):
        "The squared length of a film's vector."
        return film[0].bit_count() * self.unit + film[1] ** 2

    def compare(self, a, b, method):
        "A whole number that grows with the similarity to `a`, and the similarity."
        if method == "jaccard":
            shared, union = (a[0] & b[0]).bit_count(), (a[0] | b[0]).bit_count() or 1
            return shared * math.lcm(*range(1, 39)) // union, shared / union
        dot, length2 = (a[0] & b[0]).bit_count() * self.unit + a[1] * b[1], self.length2(b) or 1
        assert length2 < 1 << 32  # so that two different dot²/length² differ by more than 1 after the shift below
        return (dot * dot << 64) // length2, math.sqrt(dot * dot / (self.length2(a) * length2 or 1))

    def ranking(self, row, method):
        "Rows and scores of all movies with a similarity above 0, best first."
        asked = self.films[row]
        if (asked, method) not in self.memo:  # the ranking of all movies, itself included, as seen from this vector
            found = {film: self.compare(asked, film, method) for film in set(self.films)}
            rows = sorted(self.in_tie_order, key=lambda i: -found[self.films[i]][0])
            self.memo[asked, method] = [(i, found[self.films[i]][1]) for i in rows if found[self.films[i]][0]]
        return [(i, score) for i, score in self.memo[asked, method] if i != row]


@pytest.fixture(scope="module")
def counted(dataset):
    "The movies with their numbers of ratings."
    return with_rating_counts(dataset.movies, dataset.ratings)


@pytest.fixture(scope="module")
def features(dataset):
    "The feature matrix at the default year weight."
    return build_features(dataset.movies, dataset.genres, 0.1)


@pytest.fixture(scope="module")
def index(features, counted):
    "The index over MovieLens 100k."
    return build_index(features, counted)


@pytest.fixture(scope="module")
def reference(dataset, counted):
    "The reference ranking of MovieLens 100k."
    return Reference(dataset.movies, counted["n_ratings"].to_list())


@pytest.fixture(scope="module")
def full(index):
    "The index' whole ranking of each movie by each method: k = 1681."
    return {(row, m): index.top_k(row, 1681, m) for m in METHODS for row in range(len(index.vector_of))}


def pairs(answer):
    "Rows and scores as a list of pairs."
    rows, scores = answer
    return list(zip(rows.tolist(), scores.tolist(), strict=True))


@pytest.mark.parametrize("method", METHODS)
def test_the_fast_reference_is_the_oracle(method, reference, features, index, counted):
    years_after = features.years - features.years.min()
    vectors = [whole_vector(f, y, index.step) for f, y in zip(features.genre_flags, years_after, strict=True)]
    order = tie_order(counted["n_ratings"].to_numpy(), counted["movie_id"].to_numpy())
    for row in (0, 266, 300, 1181, 1681):
        assert reference.ranking(row, method) == oracle(vectors, order, row, len(vectors), method)


@pytest.mark.parametrize("method", METHODS)
def test_the_whole_ranking_of_every_movie_is_exact(method, full, reference, dataset):
    assert len(dataset.movies) == 1682
    wrong = [row for row in range(1682) if pairs(full[row, method]) != reference.ranking(row, method)]
    assert wrong == []


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("k", [1, 10, 100])
def test_a_smaller_k_is_the_head_of_the_whole_ranking(k, method, full, index):
    for row in range(1682):
        rows, scores = index.top_k(row, k, method)
        everything = full[row, method]
        assert (rows.tolist(), scores.tolist()) == (everything[0][:k].tolist(), everything[1][:k].tolist()), row


@pytest.mark.parametrize("method", METHODS)
def test_every_score_is_scikit_learns_to_1e_12(method, full, features):
    matrix = cosine_matrix(features) if method == "cosine" else jaccard_matrix(features.genre_flags)
    np.fill_diagonal(matrix, 0)
    for row, theirs in enumerate(matrix):
        ours = np.zeros(len(theirs))
        rows, scores = full[row, method]
        ours[rows] = scores
        assert np.abs(ours - theirs).max() <= 1e-12, row


def test_no_movie_is_recommended_for_itself_or_its_double(dataset, index, counted, full):
    assert not [key for key, (rows, _) in full.items() if key[0] in rows]
    rec = Recommender(counted, dataset.genres, Neighbours.build(index), np.zeros((len(counted), 2)), "unsaved")
    doubles = dataset.movies.filter(pl.struct("title", "year").is_duplicated())
    assert len(doubles) == 36
    for movie_id, title in doubles.select("movie_id", "title").iter_rows():
        for method in METHODS:
            found = rec.similar(movie_id, 1681, method)
            assert len(found) > 100 and title not in found.frame["title"]
    for movie_id, title in dataset.movies.select("movie_id", "title").iter_rows():
        assert title not in rec.similar(movie_id, 20).frame["title"]


@st.composite
def catalogues(draw):
    "Movies with few genres, years and numbers of ratings, so that ties and equal vectors abound; and a year weight."
    genres = [f"g{j}" for j in range(draw(st.integers(1, 6)))]
    years = draw(
        st.sampled_from(
            [
                st.just(1995),
                st.none(),
                st.sampled_from([None, 1922, 1995, 1998]),
                st.integers(1874, 2030) | st.none(),
                st.sampled_from([0, 1, 9999]),
            ]
        )
    )
    film = st.tuples(st.lists(st.sampled_from(genres), unique=True), years)
    pool = draw(st.lists(film, min_size=1, max_size=8))
    films = draw(st.lists(st.sampled_from(pool) | film, min_size=1, max_size=20))
    movies = pl.DataFrame(
        {
            "movie_id": draw(st.permutations(range(1, len(films) + 1))),
            "title": [f"Film {i}" for i in range(len(films))],
            "year": [year for _, year in films],
            "genres": [names for names, _ in films],
            "n_ratings": draw(st.lists(st.integers(0, 2), min_size=len(films), max_size=len(films))),
        },
        schema_overrides={"genres": pl.List(pl.String), "year": pl.Int64},
    )
    weight = draw(st.integers(1, 10**6) | st.integers(1, 20) | st.sampled_from([100_000, 333_333, 10**6])) / 10**6
    return movies, genres, weight


def indexed(movies, genres, weight):
    "The index over a drawn catalogue, and its features."
    features = build_features(movies, genres, weight)
    return build_index(features, movies), features


@settings(max_examples=250, deadline=None)
@given(catalogues(), st.data())
def test_on_random_catalogues_the_index_is_the_oracle(catalogue, data):
    movies, _, weight = catalogue
    index, features = indexed(*catalogue)
    n = len(movies)
    step = year_step(features.years, weight)
    vectors = [
        whole_vector(flags, year - features.years.min(), step)
        for flags, year in zip(features.genre_flags, features.years, strict=True)
    ]
    order = tie_order(movies["n_ratings"].to_numpy(), movies["movie_id"].to_numpy())
    row = data.draw(st.integers(0, n - 1))
    method = data.draw(st.sampled_from(METHODS))
    k = data.draw(st.integers(1, n + 2))
    allowed = np.array(data.draw(st.lists(st.booleans(), min_size=n, max_size=n)))
    ranking = oracle(vectors, order, row, n, method)
    assert pairs(index.top_k(row, k, method)) == ranking[:k]
    before = allowed.copy()
    assert pairs(index.top_k(row, k, method, allowed)) == [pair for pair in ranking if allowed[pair[0]]][:k]
    assert (allowed == before).all(), "top_k has changed the mask that it was given"
    assert [index.similarity(row, i, method) for i, _ in ranking] == [score for _, score in ranking]


@settings(max_examples=100, deadline=None)
@given(catalogues(), st.data())
def test_the_order_of_the_catalogue_does_not_matter(catalogue, data):
    movies, genres, weight = catalogue
    shuffled = movies[data.draw(st.permutations(range(len(movies))))]
    asked, k = data.draw(st.sampled_from(movies["movie_id"].to_list())), data.draw(st.integers(1, len(movies)))
    for method in METHODS:
        answers = []
        for table in (movies, shuffled):
            ids = table["movie_id"].to_list()
            rows = pairs(indexed(table, genres, weight)[0].top_k(ids.index(asked), k, method))
            answers.append([(ids[row], score) for row, score in rows])
        assert answers[0] == answers[1]


@st.composite
def almost_equal_scores(draw):
    "Exact scores that are equal or differ far below a float's last place, and floats a few places off."
    bases = draw(st.lists(st.fractions(0, 1, max_denominator=50), min_size=1, max_size=4))
    nudge = st.sampled_from([Fraction(0), *(Fraction(i, 10**e) for i in (-2, -1, 1) for e in (14, 16, 18, 25))])
    exact = draw(st.lists(st.builds(lambda b, n: b * (1 + n), st.sampled_from(bases), nudge), max_size=25))
    steps = draw(st.lists(st.integers(-20, 20), min_size=len(exact), max_size=len(exact)))
    floats = [float(score) for score in exact]
    for i, (score, step) in enumerate(zip(exact, steps, strict=True)):
        for _ in range(abs(step) if score else 0):
            floats[i] = math.nextafter(floats[i], math.inf if step > 0 else 0)
    return exact, np.array(floats)


@settings(max_examples=400, deadline=None)
@given(almost_equal_scores())
def test_ranks_are_those_of_the_fractions_whatever_the_last_places_of_the_floats(scores):
    exact, floats = scores
    places = {score: rank for rank, score in enumerate(sorted(set(exact), reverse=True))}
    assert rank_exactly(floats, exact.__getitem__).tolist() == [places[score] for score in exact]


def test_fractions_are_asked_for_only_where_floats_are_too_close():
    asked = []
    rank_exactly(np.array([0.9, 0.5, 0.5 + 1e-15, 0.1]), lambda i: asked.append(i) or Fraction(i))
    assert sorted(asked) == [1, 2]


@pytest.mark.parametrize("method", METHODS)
def test_the_stored_lists_are_exact_for_every_movie(method, index, full):
    neighbours = Neighbours.build(index)
    for row in range(1682):
        exact = full[row, method][0].tolist()
        assert neighbours.nearest(row, STORED - 1, method) == exact[: STORED - 1], row
        assert pairs(neighbours.top_k(row, 10, method)) == pairs(full[row, method])[:10], row
        if len(exact) > 40:
            assert neighbours.nearest(row, 40, method) is None
            assert neighbours.top_k(row, 40, method)[0].tolist() == exact[:40]


@settings(max_examples=250, deadline=None)
@given(catalogues(), st.data())
def test_on_random_catalogues_the_stored_lists_are_the_index(catalogue, data):
    index, _ = indexed(*catalogue)
    n, method = len(index.vector_of), data.draw(st.sampled_from(METHODS))
    length = data.draw(st.integers(1, 5))
    neighbours = Neighbours(index, {method: nearest_lists(index, method, length)})
    row, k = data.draw(st.integers(0, n - 1)), data.draw(st.integers(1, n + 2))
    same = data.draw(st.lists(st.integers(0, n - 1), unique=True, max_size=3))
    allowed = np.ones(n, bool)
    allowed[same] = False
    assert pairs(neighbours.top_k(row, k, method, same)) == pairs(index.top_k(row, k, method, allowed))
    filtered = np.array(data.draw(st.lists(st.booleans(), min_size=n, max_size=n)))
    expected = pairs(index.top_k(row, k, method, allowed & filtered))
    assert pairs(neighbours.top_k(row, k, method, same, filtered)) == expected


tenths = st.integers(0, 10).map(lambda n: n / 10)  # different sums of them are often rounded to the same float
weights = st.floats(1e-6, 1e6) | tenths | st.sampled_from([0.0, 1.0, 1e-6])


@settings(max_examples=250, deadline=None)
@given(catalogues(), st.data())
def test_any_feature_vector_is_ranked_exactly(catalogue, data):
    movies, genres, _ = catalogue
    index, _ = indexed(*catalogue)
    vector = data.draw(st.lists(weights, min_size=len(genres) + 1, max_size=len(genres) + 1))
    k, method = data.draw(st.integers(1, len(movies) + 2)), data.draw(st.sampled_from(METHODS))
    exact = []
    for row, v in enumerate(index.vector_of.tolist()):
        flags, year = index.sets[index.set_of[v]].tolist(), int(index.years[v]) * index.step
        if method == "jaccard":
            have = [weight > 0 for weight in vector[:-1]]
            union = sum(a or b for a, b in zip(have, flags, strict=True))
            exact.append((-Fraction(sum(a and b for a, b in zip(have, flags, strict=True)), union or 1), row))
        else:
            asked = [Fraction(value) for value in vector]
            dot = sum(a for a, b in zip(asked, flags, strict=False) if b) + asked[-1] * year
            lengths = sum(a * a for a in asked) * (sum(flags) + year * year)
            exact.append((-dot * dot / (lengths or 1), row))
    ranking = sorted((score, index.tie_place[row], row) for score, row in exact if score)
    rows, scores = index.search(vector, k, method)
    assert rows.tolist() == [row for _, _, row in ranking][:k]
    assert Neighbours(index, {method: np.empty(0)}).search(vector, k, method).tolist() == rows.tolist()
    root = math.sqrt if method == "cosine" else float
    assert np.allclose(scores, [root(-score) for score, _, _ in ranking[:k]], rtol=1e-12, atol=0)
    best = ranking[0][2] if ranking else None
    without = np.array([row != best for row in range(len(movies))])
    assert index.search(vector, k, method, without)[0].tolist() == [row for _, _, row in ranking if row != best][:k]


def exact_order(index, vector, k):
    "The k rows most similar to a vector by cosine, in fractions."
    asked = [Fraction(value) for value in vector]
    sums = [sum(a for a, b in zip(asked, flags, strict=False) if b) for flags in index.sets.tolist()]

    def square(v):
        year = int(index.years[v]) * index.step
        dot = sums[index.set_of[v]] + asked[-1] * year
        return dot * dot / ((int(index.sizes[index.set_of[v]]) + year * year) or 1)

    squares = [square(v) for v in range(len(index.years))]
    rows = [row for row in range(len(index.vector_of)) if squares[index.vector_of[row]]]
    return sorted(rows, key=lambda row: (-squares[index.vector_of[row]], index.tie_place[row]))[:k]


def test_sums_that_are_equal_as_floats_only_are_told_apart(index):
    of_genre = {1: 0.2, 3: 0.5, 4: 0.8, 5: 0.4, 6: 0.5, 7: 0.4, 10: 0.6, 11: 1, 12: 0.7, 13: 0.8, 15: 0.3}
    vector = [of_genre.get(genre, 0.0) for genre in range(19)] + [0.09350577167713908]
    neighbours = Neighbours.build(index)
    assert (
        index.search(vector, 100)[0].tolist()
        == neighbours.search(vector, 100).tolist()
        == exact_order(index, vector, 100)
    )
    rng = np.random.default_rng(3)
    for _ in range(100):
        vector = [*(rng.integers(0, 11, 19) / 10), rng.choice([0, 0.05, 0.1])]
        expected = exact_order(index, vector, 10)
        assert index.search(vector, 10)[0].tolist() == neighbours.search(vector, 10).tolist() == expected, vector


@pytest.mark.parametrize(
    "wrong", [[1.0], [[1.0] * 20], [-1.0] * 20, [float("nan")] * 20, [1e7] * 20, [1e-9] * 20, "x" * 20, None]
)
def test_what_is_no_feature_vector_is_refused(wrong, index):
    with pytest.raises(QueryError, match="expected 20 numbers, each 0 or from"):
        index.search(wrong, 10)


def test_compiled_and_plain_search_agree_and_are_exact_on_a_large_catalogue(features):
    flags, years = draw_catalogue(features.genre_flags, 62_423)
    index = SimilarityIndex.build(flags, years, 0.1, np.arange(len(years)))
    neighbours = Neighbours.build(index)
    rng = np.random.default_rng(5)
    for method in METHODS:
        for row in rng.integers(len(years), size=150).tolist():
            assert neighbours.nearest(row, 10, method) == index.top_k(row, 10, method)[0].tolist(), (row, method)
    groups, compiled = grouped(index, "cosine"), compiled_search()[0]
    for v in range(0, len(index.years), 100):
        asked = groups, index.vector(v)[:-1], index.year_features[v], int(index.set_of[v]), False, 12
        (places, sure), (same, as_sure) = search(*asked), compiled(*asked)
        assert places.tolist() == same.tolist() and sure == as_sure
