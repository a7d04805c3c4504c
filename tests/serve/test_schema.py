"""Random requests made from the service's own OpenAPI schema: no fault of the service, and answers as described.

`HART_EXAMPLES=5000 python -m pytest tests/serve/test_schema.py` tries more of them.
"""

import os

import pytest

pytest.importorskip("hart.serve", exc_type=ImportError)
pytest.importorskip("schemathesis")

import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from hart.serve.painter import Painter
from hart.serve.settings import ServiceSettings
from hart.utils.images import png_bytes
from tests.serve.live import running

CHECKS = [
    not_a_server_error,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
]
EXAMPLES = int(os.environ.get("HART_EXAMPLES", "60"))


@pytest.fixture(scope="module")
def api(pipeline):
    class Instant(Painter):
        """Paints one picture once, because these tests are about what stands in front of the model."""

        def paint(self, jobs):
            return [blank] * len(jobs)

    blank = png_bytes(pipeline("a cat", seed=0).images[0])
    with running(Instant(pipeline), ServiceSettings()) as address:
        yield schemathesis.openapi.from_url(f"{address}/openapi.json")


@pytest.mark.parametrize(
    ("path", "method", "mode"),
    [
        ("/v1/images/generations", "POST", GenerationMode.POSITIVE),
        ("/v1/images/generations", "POST", GenerationMode.NEGATIVE),
        ("/v1/pictures/{name}", "GET", GenerationMode.POSITIVE),
        ("/health", "GET", GenerationMode.POSITIVE),
        ("/metrics", "GET", GenerationMode.POSITIVE),
    ],
)
def test_random_requests_get_what_the_schema_says(api, path, method, mode):
    @settings(max_examples=EXAMPLES, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(case=api[path][method].as_strategy(generation_mode=mode))
    def one(case):
        case.call_and_validate(checks=CHECKS)

    one()


def test_the_page_asks_no_other_host(client):
    page = client.get("/docs").text
    assert "swagger-ui" in page and "https://" not in page and "//cdn" not in page
    document = client.get("/openapi.json").json()
    assert set(document["paths"]) == {"/v1/images/generations", "/v1/pictures/{name}", "/health", "/metrics"}
    assert "422" not in document["paths"]["/v1/images/generations"]["post"]["responses"]
