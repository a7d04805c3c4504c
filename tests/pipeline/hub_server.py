"""A stand-in for the hub on loopback: one repository per folder below a root, one revision each."""

import json
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import unquote, urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Handler(BaseHTTPRequestHandler):
    root: Path
    asked: list[str]

    def log_message(self, *arguments: object) -> None:
        """Say nothing."""

    def do_HEAD(self) -> None:
        self.answer(body=False)

    def do_GET(self) -> None:
        self.answer(body=True)

    def answer(self, body: bool) -> None:
        path = unquote(urlsplit(self.path).path).strip("/")
        if path.startswith("api/models/"):
            self.describe(path.removeprefix("api/models/").split("/"))
            return
        owner, name, _, revision, *parts = path.split("/")
        file = self.root.joinpath(owner, name, *parts)
        if revision not in ("main", COMMIT) or not file.is_file():
            self.refuse("EntryNotFound")
            return
        if body:
            self.asked.append("/".join(parts))
        self.send(file.read_bytes(), body, "application/octet-stream", str(file.stat().st_size))

    def describe(self, parts: list[str]) -> None:
        folder = self.root.joinpath(*parts[:2])
        if not folder.is_dir():
            self.refuse("RepoNotFound")
        elif len(parts) > 3 and parts[3] not in ("main", COMMIT):
            self.refuse("RevisionNotFound")
        else:
            files = sorted(file for file in folder.rglob("*") if file.is_file())
            names = [file.relative_to(folder).as_posix() for file in files]
            tree = [
                {"type": "file", "path": name, "oid": "0" * 40, "size": file.stat().st_size}
                for name, file in zip(names, files, strict=True)
            ]
            info = {"id": "/".join(parts[:2]), "sha": COMMIT, "siblings": [{"rfilename": name} for name in names]}
            content = tree if parts[2:3] == ["tree"] else info
            self.send(json.dumps(content).encode(), True, "application/json", "info")

    def refuse(self, code: str) -> None:
        self.send_response(404)
        self.send_header("X-Error-Code", code)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def send(self, content: bytes, body: bool, kind: str, tag: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("ETag", f'"{tag}"')
        self.send_header("X-Repo-Commit", COMMIT)
        self.end_headers()
        if body:
            self.wfile.write(content)


@contextmanager
def serving(root: Path):
    """Serve repositories `root/owner/name`; gives the address and the list of files that were sent."""
    asked: list[str] = []
    handler = type("Repositories", (Handler,), {"root": root, "asked": asked})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
