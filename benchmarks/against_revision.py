"""Seconds per picture of this tree against a git revision: `python benchmarks/against_revision.py REV`.

The revision is checked out as a git worktree in a temporary folder. One worker process per side loads the checkpoint
and stays alive; the two take turns, picture by picture, so that both see the same machine. The figure is the ratio of
medians, revision over this tree: above 1 this tree is faster. Peak memory is the worker's whole process (`ru_maxrss`).

Writes `against_REV.json` and `against_REV.md` into `--out`.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PROMPT = "a 3d fox on a green background"
EMBEDDED = "embedded"
MODELS = {
    EMBEDDED: "",
    "ten_12x512": "--depth 12 --width 512 --heads 8 --pyramid ten",
    "fourteen_6x384": "--depth 6 --width 384 --heads 6 --pyramid 1024",
    "toy": "--depth 1 --width 32 --heads 2 --pyramid ten --codes 64 --diff_width 16 --diff_depth 1 --context_token 30",
}
"""Arguments of `random_checkpoint.py` by model; "toy" only shows that the script runs."""

WORKER = """
import json, resource, sys, time, torch
from hart import HARTPipeline
path, dtype, threads, prompt = sys.argv[1:5]
torch.set_num_threads(int(threads))
pipe = HARTPipeline.from_pretrained(path or None, dtype=dtype, device="cpu", progress=False)
print(json.dumps("ready"), flush=True)
for line in sys.stdin:
    start = time.perf_counter()
    output = pipe(prompt, seed=int(line), output_type="pt")
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    timings = {"seconds": seconds, "stages": sum(output.timings["stages"]), "decoder": output.timings["decoder"]}
    print(json.dumps(timings | {"peak_bytes": peak}), flush=True)
"""


class Worker:
    """A process that paints with the package of one tree.

    Args:
        tree: root of a checkout.
        model_path: a checkpoint; empty for the embedded one.
        dtype: of the image model.
        threads: of torch.

    Raises:
        RuntimeError: the process ended.
    """

    def __init__(self, tree: Path, model_path: str, dtype: str, threads: int):
        self.name = str(tree)
        self.process = subprocess.Popen(
            [sys.executable, "-c", WORKER, model_path, dtype, str(threads), PROMPT],
            cwd=tree,
            env=os.environ | {"PYTHONPATH": str(tree)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._answer()

    def paint(self, seed: int) -> dict[str, float]:
        """Paint one picture; its seconds by part, and the process's peak memory so far in bytes."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{seed}\n")
        self.process.stdin.flush()
        answer: dict[str, float] = self._answer()
        return answer

    def close(self) -> None:
        """End the process."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()

    def _answer(self) -> Any:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"the worker of {self.name} ended with {self.process.wait()}; its error stands above.")
        return json.loads(line)


@contextmanager
def checked_out(revision: str) -> Iterator[Path]:
    """A worktree of a revision in a temporary folder, removed afterwards."""
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder) / "tree"
        git = ["git", "-C", str(ROOT), "worktree"]
        subprocess.run([*git, "add", "--quiet", "--detach", str(tree), revision], check=True)
        try:
            yield tree
        finally:
            subprocess.run([*git, "remove", "--force", str(tree)], check=True)


def checkpoint(model: str, folder: Path) -> str:
    """Path of a model's checkpoint, made on first use; empty for the embedded one."""
    if model == EMBEDDED:
        return ""
    path = folder / model
    if not path.exists():
        command = [sys.executable, str(ROOT / "benchmarks" / "random_checkpoint.py"), str(path), *MODELS[model].split()]
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=environment)
    return str(path)


def compare(trees: Sequence[Path], path: str, dtype: str, repeats: int, threads: int) -> dict[str, Any]:
    """Interleaved times of two trees, the revision's first, and the ratio of their medians."""
    with ExitStack() as stack:
        workers = [Worker(tree, path, dtype, threads) for tree in trees]
        for worker in workers:
            stack.callback(worker.close)
            worker.paint(0)  # warm-up
        runs: list[list[dict[str, float]]] = [[], []]
        for seed in range(1, repeats + 1):
            for side in (0, 1) if seed % 2 else (1, 0):
                runs[side].append(workers[side].paint(seed))
    medians = [{part: statistics.median(run[part] for run in side) for part in side[0]} for side in runs]
    return {
        "ratio": round(medians[0]["seconds"] / medians[1]["seconds"], 3),
        "revision": medians[0],
        "this_tree": medians[1],
        "seconds": [[round(run["seconds"], 4) for run in side] for side in runs],
    }


def table(rows: Sequence[dict[str, Any]], revision: str) -> str:
    """The rows as a Markdown table."""
    lines = [
        f"| model | dtype | {revision}, s | this tree, s | ratio of medians | peak memory, MB: before, now |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows:
        seconds = [f"{row[side]['seconds']:.3f}" for side in ("revision", "this_tree")]
        peaks = [f"{row[side]['peak_bytes'] / 1e6:.0f}" for side in ("revision", "this_tree")]
        cells = [row["model"], row["dtype"], *seconds, f"{row['ratio']:.2f}x", ", ".join(peaks)]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def written(folder: Path, name: str, text: str) -> None:
    """Write a file beside its place, then move it there."""
    unfinished = folder / f".{name}.unfinished"
    unfinished.write_text(text, encoding="utf-8")
    unfinished.replace(folder / name)


def main(given: Sequence[str] | None = None) -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("revision", help="what git understands: a commit, a branch, a tag")
    parser.add_argument("--models", nargs="+", choices=MODELS, default=[name for name in MODELS if name != "toy"])
    parser.add_argument("--dtypes", nargs="+", default=["float32", "bfloat16"])
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path("against_revision"))
    arguments = parser.parse_args(given)
    arguments.out.mkdir(parents=True, exist_ok=True)
    rows = []
    with checked_out(arguments.revision) as tree, tempfile.TemporaryDirectory() as made:
        for model in arguments.models:
            path = checkpoint(model, Path(made))
            for dtype in arguments.dtypes:
                found = compare([tree, ROOT], path, dtype, arguments.repeats, arguments.threads)
                rows.append({"model": model, "dtype": dtype} | found)
                print(table(rows[-1:], arguments.revision).splitlines()[-1], flush=True)
    machine = {"processor": platform.processor() or platform.machine(), "threads": arguments.threads}
    report = {"revision": arguments.revision, "machine": machine, "repeats": arguments.repeats, "rows": rows}
    name = f"against_{arguments.revision.replace('/', '_')}"
    written(arguments.out, f"{name}.json", json.dumps(report, indent=1) + "\n")
    written(arguments.out, f"{name}.md", table(rows, arguments.revision))


if __name__ == "__main__":
    main()
