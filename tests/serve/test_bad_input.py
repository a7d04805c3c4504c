"""What does not fit gets the right status code and one sentence, and the next request is served."""

import contextlib
import json
import resource
import socket

import pytest

pytest.importorskip("hart.serve", exc_type=ImportError)

from hart.serve.pictures import PictureFolder
from tests.serve.live import GENERATIONS, PROMPT


@pytest.fixture(autouse=True)
def _next_request_is_served(request):
    """Whatever a test did to the shared server, it paints afterwards."""
    yield
    if "client" in request.fixturenames:
        assert request.getfixturevalue("client").post(GENERATIONS, json=PROMPT).status_code == 200


def refusal(answer, status: int) -> str:
    """The sentence of a refusal of this status."""
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert "\n" not in error["message"] and error["message"].endswith(".")
    return error["message"]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"prompt": 3}, "prompt must be a valid string, got 3."),
        ({"prompt": ""}, "prompt must be a value with at least 1 character, got ''."),
        ({"prompt": " \n"}, "prompt must be a text that the model reads whole, got another (prompt 0 must be a text"),
        ({"prompt": "cat " * 200}, "prompt must be a text that the model reads whole, got another (prompt 'cat cat"),
        ({"prompt": "x" * 40_000}, "prompt must be a value with at most 32000 characters, got 'xxx"),
        ({"prompt": None}, "prompt must be a valid string, got None."),
        ({"prompt": ["a cat"]}, "prompt must be a valid string, got ['a cat']."),
        ({"n": 0}, "n must be greater than or equal to 1, got 0."),
        ({"n": 11}, "n must be a whole number from 1 to 10, got 11."),
        ({"n": 1.5}, "n must be a valid integer, got 1.5."),
        ({"n": True}, "n must be a valid integer, got True."),
        ({"n": 10**30}, "n must be a whole number from 1 to 10, got 1000"),
        ({"seed": -1}, "seed must be greater than or equal to 0, got -1."),
        ({"seed": 2**53}, "seed must be less than or equal to 9007199254740991, got 9007199254740992."),
        ({"size": "64x64"}, "size must be 128x128 or auto, got '64x64'."),
        ({"size": "x" * 1000}, "size must be 128x128 or auto, got 'xxx"),
        ({"response_format": "png"}, "response_format must be 'b64_json' or 'url', got 'png'."),
        ({"stream": True, "n": 2}, "n must be 1 when streaming, got 2."),
        ({"stream": True, "response_format": "url"}, "response_format must be b64_json when streaming, got url."),
        ({"partial_images": 2}, "partial_images must be 0 without stream, got 2."),
        ({"partial_images": 4, "stream": True}, "partial_images must be less than or equal to 3, got 4."),
        ({"sede": 4}, "sede must be left out: there is no such field."),
        ({"\n": 4}, "\\n must be left out: there is no such field."),
        ({"\ud800": 4}, "body must be a valid string, unable to parse raw data as a unicode string, got '\\ud800'."),
    ],
    ids=lambda value: next(iter(value)).encode("ascii", "replace").decode().strip() if isinstance(value, dict) else "",
)
def test_a_field_that_does_not_fit(client, change, sentence):
    body = json.dumps({**PROMPT, **change}).encode()
    answer = client.post(GENERATIONS, content=body, headers={"content-type": "application/json"})
    assert refusal(answer, 400).startswith(sentence)
    assert len(answer.text) < 500


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b"null", b"3", b'"a cat"', b"\xff\xfe", b"{'prompt': 'a cat'}", b'{"prompt": "\\ud800"}',
     b"[" * 100_000, b'{"prompt": "a cat", "n": NaN}', b'{"n": ' + b"9" * 5_000 + b"}"],
    ids=lambda body: repr(body[:20]),
)  # fmt: skip
def test_a_body_that_is_no_request(client, body):
    refusal(client.post(GENERATIONS, content=body, headers={"content-type": "application/json"}), 400)


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "x"])
def test_a_body_of_another_kind(client, kind):
    refusal(client.post(GENERATIONS, content=json.dumps(PROMPT), headers={"content-type": kind}), 400)


def test_paths_and_methods_that_are_not_there(client):
    assert "the path must be one that this service has" in refusal(client.get("/v1/nothing"), 404)
    assert "the path must be one" in refusal(client.post("/v1/images/edits", json=PROMPT), 404)
    wrong = client.get(GENERATIONS)
    assert "the method must be one" in refusal(wrong, 405) and wrong.headers["allow"] == "POST"


@pytest.mark.parametrize("name", ["x.png", "0" * 32 + ".png", "..%2f..%2fetc%2fpasswd", "%00", "." * 300])
def test_pictures_that_are_not_kept(client, name):
    refusal(client.get(f"/v1/pictures/{name}"), 404)


def test_a_body_of_100_megabytes(client):
    megabyte = b"x" * 1_000_000
    assert "body must be 1000000 bytes at most" in refusal(client.post(GENERATIONS, content=megabyte * 100), 413)
    refusal(client.post(GENERATIONS, content=(megabyte for _ in range(100))), 413)  # without Content-Length


def connected(client) -> socket.socket:
    return socket.create_connection((client.base_url.host, client.base_url.port), timeout=30)


def test_a_long_body_is_refused_before_it_is_sent_where_the_client_asks(client):
    head = f"POST {GENERATIONS} HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 100000000\r\n\r\n"
    with connected(client) as connection:
        connection.sendall(head.encode())
        assert connection.recv(4096).startswith(b"HTTP/1.1 413")


def test_a_body_that_comes_too_slowly(painter, serve):
    client = serve(painter, body_seconds=0.2)
    with connected(client) as connection:
        connection.sendall(f"POST {GENERATIONS} HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{{".encode())
        assert connection.recv(4096).startswith(b"HTTP/1.1 408")
    assert client.post(GENERATIONS, json=PROMPT).status_code == 200


def test_many_connections_that_say_nothing_keep_nobody_out(client):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 4096), hard))
    number_of_files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    with contextlib.ExitStack() as stack:
        stack.callback(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        # Both ends of each connection are files of this process.
        for number in range(min(1000, number_of_files // 2 - 200)):
            connection = stack.enter_context(connected(client))
            if number % 2:
                connection.sendall(f"POST {GENERATIONS} HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\n".encode())
        assert client.post(GENERATIONS, json=PROMPT).status_code == 200


def test_open_requests_are_bounded(held, serve):
    client = serve(held, open_requests=1)
    with connected(client) as connection:
        connection.sendall(f"POST {GENERATIONS} HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{{".encode())
        refused = client.get("/health")
        while refused.status_code == 200:  # the first request was not read yet
            refused = client.get("/health")
        assert "open requests must be 1 at most" in refusal(refused, 503) and refused.headers["retry-after"] == "1"
    held.go.set()
    while client.get("/health").status_code == 503:
        pass
    assert client.post(GENERATIONS, json=PROMPT).status_code == 200


def test_a_client_that_does_not_read_its_answer_holds_up_nobody(client):
    body = json.dumps({**PROMPT, "n": 10})
    head = f"POST {GENERATIONS} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
    with connected(client) as connection:
        connection.sendall(f"{head}content-length: {len(body)}\r\n\r\n{body}".encode())
        assert client.post(GENERATIONS, json=PROMPT).status_code == 200


def test_a_full_disk_for_urls(client, monkeypatch):
    def full(self, data):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pathlib.Path.write_bytes", full)
    answer = client.post(GENERATIONS, json={**PROMPT, "response_format": "url"})
    assert "got a full or broken disk; ask for b64_json" in refusal(answer, 507)
    assert client.post(GENERATIONS, json=PROMPT).status_code == 200
    monkeypatch.undo()
    assert client.post(GENERATIONS, json={**PROMPT, "response_format": "url"}).status_code == 200


def test_the_oldest_pictures_go_and_a_broken_write_leaves_nothing(tmp_path, monkeypatch):
    folder = PictureFolder(tmp_path / "pictures", keep=2)
    names = [folder.save(bytes([number])) for number in range(4)]
    assert [folder.find(name) is not None for name in names] == [False, False, True, True]
    monkeypatch.setattr("os.replace", lambda *paths: (_ for _ in ()).throw(OSError("full")))
    with pytest.raises(OSError, match="full"):
        folder.save(b"x")
    assert sorted(path.name for path in folder.folder.iterdir()) == sorted(names[2:])
