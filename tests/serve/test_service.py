"""The queue and the clients around it: who waits, who is refused, who goes away, what is logged and counted."""

import contextlib
import logging
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

pytest.importorskip("hart.serve", exc_type=ImportError)

from hart.serve.painter import AbandonedError, Job, Painter
from tests.serve.live import GENERATIONS, PROMPT, SERVERS, HeldPainter, stop, until


def waiting(client) -> int:
    return client.get("/health").json()["waiting"]


def counters(client) -> dict[str, float]:
    lines = [line for line in client.get("/metrics").text.splitlines() if not line.startswith("#")]
    return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines)}


def test_health_says_what_is_served(client):
    assert client.get("/health").json() == {
        "status": "ok", "model": "hart", "size": "128x128", "device": "cpu", "waiting": 0,
    }  # fmt: skip


def test_requests_and_pictures_are_counted(painter, serve):
    client = serve(painter)
    client.post(GENERATIONS, json={**PROMPT, "n": 2})
    client.post(GENERATIONS, json={**PROMPT, "n": 0})
    client.get("/nowhere")
    until(lambda: 'path="other"' in client.get("/metrics").text)
    found = counters(client)
    assert found["hart_pictures_total"] == 2 and found["hart_queue_pictures"] == 0
    assert found['hart_requests_total{path="/v1/images/generations",status="200"}'] == 1
    assert found['hart_requests_total{path="/v1/images/generations",status="400"}'] == 1
    assert found['hart_requests_total{path="other",status="404"}'] == 1
    assert found["hart_batch_pictures_count"] == 2 and found["hart_paint_seconds_sum"] > 0


def test_a_full_queue_says_when_to_come_back(held, serve):
    client = serve(held, max_n=2, queue_pictures=2)
    with ThreadPoolExecutor() as pool:
        first = pool.submit(client.post, GENERATIONS, json={**PROMPT, "n": 2})
        until(lambda: waiting(client) == 2)
        refused = client.post(GENERATIONS, json=PROMPT)
        assert refused.status_code == 429 and int(refused.headers["retry-after"]) >= 1
        assert refused.json()["error"]["code"] == "queue_full"
        assert refused.json()["error"]["type"] == "rate_limit_error"
        assert client.post(GENERATIONS, json={**PROMPT, "stream": True}).status_code == 429
        held.go.set()
        assert first.result().status_code == 200
    assert client.post(GENERATIONS, json=PROMPT).status_code == 200


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_goes_away_frees_its_place(held, serve, stream):
    client = serve(held)
    with ThreadPoolExecutor() as pool:
        first = pool.submit(client.post, GENERATIONS, json=PROMPT)
        assert held.begun.wait(30)
        with contextlib.suppress(TimeoutError), leaving(client, {**PROMPT, "stream": stream}):
            until(lambda: waiting(client) == 2)
        until(lambda: waiting(client) == 1)
        held.go.set()
        assert first.result().status_code == 200
    assert len(held.batches) == 1


@contextlib.contextmanager
def leaving(client, body):
    """A connection with a request on it, closed at the end without waiting for the answer."""
    request = client.build_request("POST", GENERATIONS, json=body)
    head = f"POST {GENERATIONS} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
    head += f"content-length: {len(request.content)}\r\n\r\n"
    with socket.create_connection((client.base_url.host, client.base_url.port)) as connection:
        connection.sendall(head.encode() + request.content)
        yield connection


def test_painting_ends_at_the_next_stage_when_nobody_waits(pipeline, serve):
    class Counting(Painter):
        def paint(self, jobs):
            pipeline, self.stages, self.left = self.pipeline, 0, False

            def stage_by_stage(prompts, callback_on_stage_end, **settings):
                def stage_done(index, info):
                    self.stages += 1
                    until(lambda: jobs[0].abandoned)
                    callback_on_stage_end(index, info)

                return pipeline(prompts, callback_on_stage_end=stage_done, **settings)

            self.pipeline = stage_by_stage
            try:
                return super().paint(jobs)
            except AbandonedError:
                self.left = True
                raise
            finally:
                self.pipeline = pipeline

    painter = Counting(pipeline)
    client = serve(painter)
    with leaving(client, PROMPT):
        until(lambda: getattr(painter, "stages", 0))
    until(lambda: painter.left)
    assert painter.stages == 1
    until(lambda: waiting(client) == 0)


def test_pictures_that_take_too_long_are_given_up(held, serve):
    client = serve(held, time_limit=0.2)
    late = client.post(GENERATIONS, json=PROMPT)
    assert late.status_code == 504 and "painted within 0.2 s" in late.json()["error"]["message"]
    event = client.post(GENERATIONS, json={**PROMPT, "stream": True})
    assert event.status_code == 200 and "event: error" in event.text and "within 0.2 s" in event.text
    held.go.set()
    until(lambda: waiting(client) == 0)


def test_requests_that_arrive_together_are_painted_together(pipeline, serve):
    held = HeldPainter(pipeline, batch_size=3)
    client = serve(held, batch_wait=0.0)
    with ThreadPoolExecutor() as pool:
        first = pool.submit(client.post, GENERATIONS, json=PROMPT)
        assert held.begun.wait(30)
        others = [pool.submit(client.post, GENERATIONS, json={**PROMPT, "seed": seed}) for seed in range(4)]
        until(lambda: waiting(client) == 5)
        held.go.set()
        answers = [answer.result().json() for answer in (first, *others)]
    assert [len(batch) for batch in held.batches] == [1, 3, 1]
    assert answers[0]["data"] == answers[4]["data"]  # seed 3, alone and among others


def test_a_batch_waits_to_be_filled(pipeline, serve):
    held = HeldPainter(pipeline, batch_size=2)
    held.go.set()
    client = serve(held, batch_wait=1.0)
    begun = time.monotonic()
    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda seed: client.post(GENERATIONS, json={**PROMPT, "seed": seed}), range(2)))
    assert [len(batch) for batch in held.batches] == [2] and time.monotonic() - begun < 60


def test_shutting_down_finishes_what_runs(held, serve):
    client = serve(held)
    with ThreadPoolExecutor() as pool:
        running = [pool.submit(client.post, GENERATIONS, json={**PROMPT, "seed": seed}) for seed in range(3)]
        until(lambda: waiting(client) == 3)
        threading.Timer(0.5, held.go.set).start()
        stop(*SERVERS[-1])
        assert [answer.result().status_code for answer in running] == [200] * 3


def test_the_log_has_no_prompt_unless_asked_for(pipeline, serve, caplog):
    class Failing(Painter):
        def paint(self, jobs):
            raise RuntimeError(f"cannot paint {jobs[0].prompt}")

    caplog.set_level(logging.INFO)
    body = {"prompt": "a hidden owl"}
    assert serve(Failing(pipeline)).post(GENERATIONS, json=body).status_code == 500
    until(lambda: "POST /v1/images/generations 500" in caplog.text)
    assert "RuntimeError" in caplog.text
    assert "hidden" not in caplog.text
    serve(Failing(pipeline), log_prompts=True).post(GENERATIONS, json=body)
    assert "cannot paint a hidden owl" in caplog.text and "prompt 'a hidden owl'" in caplog.text


@pytest.mark.parametrize("answer", [[True], [True, False], None])
def test_the_safety_checker_is_asked_before_the_queue(checkpoint_root, held, serve, answer):
    asked = []
    held.safety_checker = lambda prompts: asked.append(prompts) or answer
    client = serve(held)
    refused = client.post(GENERATIONS, json=PROMPT)
    assert asked == [["a cat"]] and held.batches == []
    error = refused.json()["error"]
    if answer == [True]:
        assert (refused.status_code, error["code"]) == (400, "content_policy_violation")
    else:  # a checker with a fault lets nothing through
        assert refused.status_code == 500 and "safety checker must answer" in error["message"]


def test_a_prompt_that_the_checker_allows_is_painted_without_asking_again(pipeline, serve):
    asked = []
    painter = Painter(pipeline)
    painter.safety_checker = lambda prompts: asked.append(prompts) or [False]
    assert serve(painter).post(GENERATIONS, json=PROMPT).status_code == 200
    assert asked == [["a cat"]]


def test_jobs_that_nobody_waits_for_are_not_begun(painter):
    with pytest.raises(AbandonedError):
        painter.paint([Job("a cat", 0, abandoned=True)])
