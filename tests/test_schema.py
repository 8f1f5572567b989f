"""The API against its description: thousands of requests made up by schemathesis,
right, wrong, and about real movies.

FUZZ_SEED=123 repeats a run; the seed of each run is printed.
"""

import json
import os
import random
from collections import Counter

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, assume, given, seed, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from movierec import api
from movierec.config import load_config
from movierec.web import create_app

CHECKS = (
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
)
SEED = int(os.environ.get("FUZZ_SEED") or random.randrange(2**32))
EACH = 300  # requests of a kind for each operation that can be asked in many ways

real_ids = st.fixed_dictionaries(
    {"movie_id": st.integers(1, 1682), "user_id": st.integers(1, 943)}
)
real_ratings = st.dictionaries(
    st.integers(1, 1682).map(str), st.integers(1, 5), max_size=30
)


@pytest.fixture(scope="module")
def app(trained_root):
    "The application, with MovieLens 100k."
    return create_app(load_config(model={"dir": trained_root}))


def ask(operation, mode, real, answers):
    """Make up requests, and hold each answer against the schema; count the answers by
    status."""

    @seed(SEED)
    @settings(
        max_examples=EACH,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(
        case=operation.as_strategy(generation_mode=mode),
        ids=real_ids,
        ratings=real_ratings,
    )
    def requests(case, ids, ratings):
        if real:
            case.path_parameters = {
                name: ids[name] for name in case.path_parameters or {}
            }
            if isinstance(case.body, dict):
                case.body |= {"ratings": ratings, "exclude": [str(ids["movie_id"])]}
        # werkzeug's client sends no address with a question mark in a path
        assume("?" not in str(case.path_parameters))
        response = case.call()
        answers[response.status_code] += 1
        # must be refused, as 413 does
        wrong = mode is GenerationMode.NEGATIVE and response.status_code != 413
        case.validate_response(
            response, checks=(*CHECKS, negative_data_rejection) if wrong else CHECKS
        )

    requests()


def test_no_answer_is_off_its_schema(app, capsys):
    schema = schemathesis.openapi.from_wsgi("/api/v1/openapi.json", app)
    answers = Counter()
    for result in schema.get_all_operations():
        operation = result.ok()
        ask(operation, GenerationMode.POSITIVE, False, answers)
        if operation.path_parameters or operation.query or operation.body:
            ask(operation, GenerationMode.POSITIVE, True, answers)
            ask(operation, GenerationMode.NEGATIVE, False, answers)
    with capsys.disabled():
        print(
            f"\nschemathesis, FUZZ_SEED={SEED}: {answers.total()} requests,",
            dict(sorted(answers.items())),
        )
    assert answers.total() >= 5000
    assert min(answers[200], answers[400], answers[404]) > 200
    assert answers.keys() <= {200, 400, 404, 413, 415}


def test_the_document_is_what_the_routes_say():
    with open(
        os.path.join(os.path.dirname(api.__file__), api.DOCUMENT), encoding="utf-8"
    ) as file:
        assert json.load(file) == api.openapi_document(), "run make fix"


def test_every_address_below_api_is_in_the_document(app):
    paths = json.loads(api.read_document(app.root_path))["paths"]
    rules = {
        rule.rule for rule in app.url_map.iter_rules() if rule.rule.startswith("/api/")
    }
    assert {rule.replace("<", "{").replace(">", "}") for rule in rules} == paths.keys()
