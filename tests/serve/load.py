"""A bounded load test of a live service on loopback, with the `openai` client: `python -m tests.serve.load`.

Starts `python -m hart.serve`, lets clients ask for pictures of a few prompts and seeds, and compares every picture
with the first one of its prompt and seed, which is painted alone. A client that gets 429 waits as long as it is told
and asks again. Ends with status 1 on any other error, a picture that differs, or a process that grew.
"""

import argparse
import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

import openai

PROMPTS = ("a 3d owl on a green background", "a small twemoji key on a blue background at the top left")
SEEDS = 5
ATTEMPTS = 100


@dataclass
class Outcome:
    """What clients saw: answers by status, seconds of each success, pictures that were not those of their seed."""

    statuses: Counter[str] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)
    wrong: int = 0
    memory: list[int] = field(default_factory=list)

    def grown(self) -> float:
        """How much the process's memory grew from the end of the first quarter of requests to the end."""
        return self.memory[-1] / self.memory[len(self.memory) // 4] - 1

    def faults(self, most_growth: float) -> list[str]:
        """What must not have been."""
        errors = {status: count for status, count in self.statuses.items() if status not in ("200", "429")}
        found = [f"errors: {errors}"] if errors else []
        found += [f"{self.wrong} pictures are not those of their seed"] if self.wrong else []
        return found + ([f"memory grew by {self.grown():.0%}"] if self.grown() > most_growth else [])


@contextlib.contextmanager
def service(*flags: str, port: int) -> Iterator[subprocess.Popen]:
    """A service in a process of its own, ended as an operator would."""
    process = subprocess.Popen([sys.executable, "-m", "hart.serve", "--port", str(port), *flags])
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def resident(pid: int) -> int:
    """Bytes of memory that a process holds."""
    with open(f"/proc/{pid}/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


async def paint(api: openai.AsyncOpenAI, prompt: str, seed: int, outcome: Outcome) -> str | None:
    """One picture, asked for again as long as the queue is full."""
    for _ in range(ATTEMPTS):
        started = time.monotonic()
        try:
            answer = await api.images.generate(prompt=prompt, extra_body={"seed": seed})
        except openai.RateLimitError as error:
            outcome.statuses["429"] += 1
            await asyncio.sleep(float(error.response.headers["retry-after"]))
        except openai.APIStatusError as error:
            outcome.statuses[str(error.status_code)] += 1
            return None
        except openai.APIConnectionError as error:
            outcome.statuses[type(error).__name__] += 1
            return None
        else:
            outcome.statuses["200"] += 1
            outcome.seconds.append(time.monotonic() - started)
            return answer.data[0].b64_json
    outcome.statuses["gave up"] += 1
    return None


async def load(address: str, prompts: tuple[str, ...], requests: int, clients: int, pid: int) -> Outcome:
    """Run the clients, each over its share of the requests."""
    outcome = Outcome()
    async with openai.AsyncOpenAI(base_url=f"{address}/v1", api_key="any", max_retries=0, timeout=300) as api:
        await until_healthy(address)
        tasks = [(prompt, seed) for prompt in prompts for seed in range(SEEDS)]
        right = {task: await paint(api, *task, Outcome()) for task in tasks}
        waiting = iter(range(requests))

        async def client() -> None:
            for number in waiting:
                task = tasks[number % len(tasks)]
                picture = await paint(api, *task, outcome)
                outcome.wrong += picture is not None and picture != right[task]
                outcome.memory.append(resident(pid))

        await asyncio.gather(*(client() for _ in range(clients)))
    return outcome


async def until_healthy(address: str) -> None:
    async with openai.DefaultAsyncHttpxClient(base_url=address) as client:
        for _ in range(600):
            with contextlib.suppress(Exception):
                if (await client.get("/health")).status_code == 200:
                    return
            await asyncio.sleep(0.1)
    raise TimeoutError(f"no service at {address}")


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--requests", type=int, default=200)
    parser.add_argument("--clients", type=int, default=20)
    parser.add_argument("--prompts", nargs="+", default=PROMPTS)
    parser.add_argument("--seconds", type=float, default=900, help="give up after so long")
    parser.add_argument("--growth", type=float, default=0.1, help="of memory that is allowed")
    arguments, flags = parser.parse_known_args(argv)
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    with service(*flags, port=port) as process:
        run = load(address, tuple(arguments.prompts), arguments.requests, arguments.clients, process.pid)
        outcome = asyncio.run(asyncio.wait_for(run, arguments.seconds))
    seconds = sorted(outcome.seconds)
    print(f"answers: {dict(outcome.statuses)}, wrong pictures: {outcome.wrong}")
    print(f"seconds of a request: median {seconds[len(seconds) // 2]:.2f}, longest {seconds[-1]:.2f}")
    print(f"memory: {outcome.memory[0] / 2**20:.0f} to {outcome.memory[-1] / 2**20:.0f} MiB")
    faults = outcome.faults(arguments.growth)
    print("; ".join(faults) or "no fault")
    return bool(faults) or process.returncode != 0


if __name__ == "__main__":
    sys.exit(main())
