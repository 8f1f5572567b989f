"""The API against its description: requests made up by schemathesis, right, wrong, and
about real movies.

FUZZ_SEED=123 repeats a run; the seed of each run is printed. FUZZ_EACH=300 asks more.
"""

import json
import os
import random
from collections import Counter
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, Phase, assume, given, seed, settings
from hypothesis import strategies as st

from movierec import api
from movierec.config import load_config
from movierec.web import create_app

SEED = int(os.environ.get("FUZZ_SEED") or random.randrange(2**32))
# What is drawn of each kind, for each operation that can be asked in many ways
EACH = int(os.environ.get("FUZZ_EACH") or 40)

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


def ask(operation, wrong, answers):
    """Make up requests, and hold each answer against the schema; count the answers by
    status. Those that are right are asked about real movies, too."""
    from schemathesis import GenerationMode, checks
    from schemathesis.specs.openapi import checks as more

    conforms = [
        checks.not_a_server_error,
        more.status_code_conformance,
        more.content_type_conformance,
        more.response_headers_conformance,
        more.response_schema_conformance,
    ]
    # A text is wrong by its length alone: schemathesis would look for that for long
    only_text = operation.path == "/api/v1/movies/{movie_id}"
    mode = GenerationMode.NEGATIVE if wrong and not only_text else None
    many = operation.path_parameters or operation.query or operation.body

    def send(case):
        response = case.call()
        answers[response.status_code] += 1
        # must be refused, as 413 does
        refused = [more.negative_data_rejection] * (
            wrong and response.status_code != 413
        )
        case.validate_response(response, checks=conforms + refused)
        assert not (wrong and only_text) or response.status_code in (400, 404)

    @seed(SEED)
    @settings(
        max_examples=EACH if many else 3,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(
        case=operation.as_strategy(generation_mode=mode or GenerationMode.POSITIVE),
        ids=real_ids,
        ratings=real_ratings,
        long=st.text(min_size=201),
    )
    def requests(case, ids, ratings, long):
        if wrong and only_text:
            case.path_parameters = {"movie_id": quote(long, safe="")}
        # werkzeug's client sends no address with a question mark in a path
        assume("?" not in str(case.path_parameters))
        send(case)
        if many and not wrong:
            case.path_parameters = {
                name: ids[name] for name in case.path_parameters or {}
            }
            if isinstance(case.body, dict):
                case.body |= {"ratings": ratings, "exclude": [str(ids["movie_id"])]}
            send(case)

    requests()


def test_no_answer_is_off_its_schema(app, capsys):
    import schemathesis  # which takes a second, in each process that collects tests

    schema = schemathesis.openapi.from_wsgi("/api/v1/openapi.json", app)
    answers = Counter()
    for result in schema.get_all_operations():
        operation = result.ok()
        ask(operation, False, answers)
        if operation.path_parameters or operation.query or operation.body:
            ask(operation, True, answers)
    with capsys.disabled():
        print(
            f"\nschemathesis, FUZZ_SEED={SEED}: {answers.total()} requests,",
            dict(sorted(answers.items())),
        )
    assert answers.total() >= 16 * EACH
    assert min(answers[200], answers[400], answers[404]) > 0.7 * EACH
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
