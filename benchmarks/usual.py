"""The recommender server as it is usually written: two pickles, a DataFrame, a sort
over all films. To compare with.

USUAL_DIR names the folder of movies.pkl and similarity.pkl, which benchmarks/serving.py
writes.
"""

import os
import pickle
from pathlib import Path

from flask import Flask, Response, jsonify, request

folder = Path(os.environ["USUAL_DIR"])
# a pandas DataFrame: movie_id, title
movies = pickle.loads((folder / "movies.pkl").read_bytes())
# (movies, movies) float64
similarity = pickle.loads((folder / "similarity.pkl").read_bytes())
ids, titles = movies["movie_id"].tolist(), movies["title"].tolist()
well = folder / "nearest.pkl"  # the nearest of each film, by method: see fast_http.py
nearest = pickle.loads(well.read_bytes()) if well.exists() else {}
app = Flask(__name__)


def by_title(title: str) -> list[dict]:
    "The ten most similar movies, as most tutorials find them."
    index = movies[movies["title"] == title].index[0]
    distances = list(enumerate(similarity[index]))
    distances = sorted(distances, reverse=True, key=lambda pair: pair[1])
    return [
        {
            "movie_id": int(movies.iloc[i].movie_id),
            "title": movies.iloc[i].title,
            "score": float(score),
        }
        for i, score in distances[1:11]
    ]


def by_row(row: int) -> list[dict]:
    "The same without pandas: the row is known, and the titles are lists."
    distances = sorted(
        enumerate(similarity[row]), reverse=True, key=lambda pair: pair[1]
    )
    return [
        {"movie_id": ids[i], "title": titles[i], "score": float(score)}
        for i, score in distances[1:11]
    ]


@app.route("/titles/<path:title>")
def titled(title: str) -> Response:
    "The films most like a title."
    return jsonify(by_title(title))


@app.route("/rows/<int:row>")
def numbered(row: int) -> Response:
    "The films most like a row."
    return jsonify(by_row(row))


@app.route("/well/<int:row>")
def done_well(row: int) -> Response:
    "The films most like a row, which were found before, with a tag."
    k, method = request.args.get("k", 10, int), request.args.get("method", "cosine")
    response = jsonify(nearest[method][row][:k])
    response.add_etag()
    return response.make_conditional(request)


@app.route("/nothing")
def nothing() -> Response:
    "No work at all: what Flask and the server cost."
    return jsonify([])
