"""`examples/ray_serve.py`: the service's client tests again, against Ray Serve on this machine."""

import importlib
import os
import sys
from pathlib import Path

import pytest

pytest.importorskip("ray")
pytest.importorskip("hart.serve", exc_type=ImportError)
pytest.importorskip("openai")

import httpx2
import ray
from ray import serve

from tests.serve.live import GENERATIONS, PROMPT, until
from tests.serve.load import free_port
from tests.serve.test_openai import (  # noqa: F401 - the same tests, with this module's client
    images,
    test_a_drawn_seed_is_told_and_paints_the_picture_again,
    test_a_stream_shows_pictures_on_the_way,
    test_a_url_leads_to_the_picture,
    test_pictures_are_those_of_the_pipeline_at_their_seeds,
    test_what_does_not_fit_is_raised_as_the_client_has_it,
)

pytestmark = pytest.mark.slow
EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture(scope="module")
def client(checkpoint_root, tmp_path_factory):
    environment = {"PYTHONPATH": os.pathsep.join([str(EXAMPLES.parent), str(EXAMPLES)]), "OMP_NUM_THREADS": "1"}
    sys.path.insert(0, str(EXAMPLES))
    script = importlib.import_module("ray_serve")
    settings = script.RayServiceSettings(
        model_path=checkpoint_root, dtype="float32", device="cpu", max_n=2, queue_pictures=2, port=free_port(),
        url_folder=tmp_path_factory.mktemp("pictures"), min_replicas=2, max_replicas=2, replica_cpus=0.5,
    )  # fmt: skip
    ray.init(num_cpus=2, include_dashboard=False, runtime_env={"env_vars": environment}, log_to_driver=False)
    try:
        serve.start(http_options={"host": settings.host, "port": settings.port})
        serve.run(script.application(settings))
        with httpx2.Client(base_url=f"http://127.0.0.1:{settings.port}", timeout=60) as client:
            yield client
    finally:
        sys.path.remove(str(EXAMPLES))
        serve.shutdown()
        ray.shutdown()


def test_a_client_that_goes_away_frees_its_place(client):
    with pytest.raises(httpx2.TimeoutException):
        client.post(GENERATIONS, json={**PROMPT, "n": 2}, timeout=0.01)
    until(lambda: client.post(GENERATIONS, json={**PROMPT, "n": 2}).status_code == 200)
