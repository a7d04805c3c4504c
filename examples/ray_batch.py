"""Paint the prompts of a JSONL or Parquet file with Ray Data, on every core or GPU it is given.

Each row has a `prompt`, and a `seed` where it wants its own. Every worker loads the model once. The output folder,
which all machines must share, gets `pictures/`, `manifest.jsonl` (a line per picture) and `summary.json`. The same
command goes on where a killed one stopped: what stands in the manifest is not painted again. The same prompt and seed
gives the same picture with any number of workers. Needs the extra `ray`.
"""

import argparse
import hashlib
import json
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hart.utils.command_line import BAD_INPUT, Parser
from hart.utils.extras import need_extra
from hart.utils.files import write_whole

if TYPE_CHECKING:
    import ray.data

Row = dict[str, Any]


def build_parser() -> argparse.ArgumentParser:
    """Describe the command line."""
    parser = Parser(description=__doc__, allow_abbrev=False, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--prompts_file", type=Path, required=True, metavar="FILE", help="*.jsonl or *.parquet")
    parser.add_argument("--output_dir", type=Path, default=Path("outputs"), metavar="FOLDER", help="where to write")
    parser.add_argument("--seed", type=int, default=0, help="of the first picture of rows without one of their own")
    parser.add_argument("--num_samples", type=int, default=1, help="pictures per row; each next one adds 1 to the seed")
    parser.add_argument("--workers", type=int, default=1, help="models that paint at the same time")
    parser.add_argument("--cpus", type=int, default=1, help="of each worker, which are its threads, too")
    parser.add_argument("--gpus", type=float, default=0, help="of each worker")
    parser.add_argument("--batch_size", type=int, default=8, help="pictures that a worker takes at once")
    parser.add_argument("--model_path", metavar="FOLDER", help="checkpoint (default: the embedded model)")
    parser.add_argument("--text_model_path", metavar="FOLDER", help="default: text_encoder beside the checkpoint's llm")
    parser.add_argument("--device", help="cpu, cuda or mps (default: the fastest there is)")
    parser.add_argument("--dtype", help="float32, bfloat16 or float16 (default: what the device is fast in)")
    parser.add_argument("--cache", metavar="NAME", help="preset of the stage cache")
    parser.add_argument("--guidance_scale", type=float, help="how strongly prompts steer (default: the model's own)")
    return parser


def picture_name(prompt: str, seed: int) -> str:
    """Return the file name of a prompt and seed, the same in every run."""
    return f"{hashlib.sha256(prompt.encode()).hexdigest()[:16]}_seed{seed}.png"


class Worker:
    """One model that paints batches of rows into a folder.

    Args:
        model: arguments of `HARTPipeline.from_pretrained`.
        folder: where pictures go.
        guidance_scale: see `HARTPipeline`.
        threads: of torch on CPU.
    """

    def __init__(self, model: Row, folder: Path, guidance_scale: float | None, threads: int):
        import torch

        from hart import HARTPipeline

        torch.set_num_threads(max(1, threads))
        started = time.perf_counter()
        self.pipeline = HARTPipeline.from_pretrained(**model, progress=False)
        self.loading = time.perf_counter() - started
        self.folder, self.guidance_scale = folder, guidance_scale

    def __call__(self, batch: Row) -> Row:
        """Paint `prompt` [B] and `seed` [B]; return what the manifest says of each, and seconds."""
        rows = [
            {"file": picture_name(prompt, seed), "prompt": prompt, "seed": seed, "error": self.fault(prompt, seed)}
            for prompt, seed in zip(batch["prompt"].tolist(), batch["seed"].tolist(), strict=True)
        ]
        started = time.perf_counter()
        good = [row for row in rows if not row["error"]]
        images = self.paint(good)
        painted = time.perf_counter()
        self.save(good, images)
        written = time.perf_counter()
        for row in rows:
            row["painting"] = (painted - started) / max(1, len(good))
            row["writing"] = (written - painted) / max(1, len(good))
            row["loading"] = self.loading
        return {name: [row[name] for row in rows] for name in rows[0]}

    def fault(self, prompt: str, seed: int) -> str:
        """Return why a prompt and seed cannot be painted; empty if they can."""
        from hart.utils import picture_seeds

        try:
            picture_seeds(1, seed)
            self.pipeline.checked_prompts(prompt)
        except ValueError as error:
            return str(error)
        return ""

    def paint(self, rows: list[Row]) -> list[Any]:
        """Return the pictures of rows."""
        if not rows:
            return []
        prompts, seeds = [row["prompt"] for row in rows], [row["seed"] for row in rows]
        images: list[Any] = self.pipeline(prompts, guidance_scale=self.guidance_scale, seed=seeds).images
        return images

    def save(self, rows: list[Row], images: list[Any]) -> None:
        """Write pictures, each whole or not at all."""
        from hart.utils import save_png

        for row, image in zip(rows, images, strict=True):
            save_png(image, self.folder / row["file"])


class Manifest:
    """`manifest.jsonl`: a line per picture, added when it is written, sorted at the end of a run.

    Raises:
        ValueError: the folder holds pictures of other settings.
    """

    def __init__(self, folder: Path, settings: Row):
        self.path = folder / "manifest.jsonl"
        folder.mkdir(parents=True, exist_ok=True)
        begun = folder / "settings.json"
        if begun.exists() and json.loads(begun.read_text(encoding="utf-8")) != settings:
            raise ValueError(f"output_dir must be empty or of the same settings, got {str(folder)!r} with other ones.")
        write_whole(begun, json.dumps(settings, indent=2) + "\n")
        self.lines = {line["file"]: line for line in self._read()}
        self.sort()

    def _read(self) -> Iterator[Row]:
        """Lines that are whole; a killed run may leave a part of one."""
        if not self.path.exists():
            return
        for text in self.path.read_text(encoding="utf-8").splitlines():
            try:
                yield json.loads(text)
            except json.JSONDecodeError:
                continue

    def add(self, row: Row) -> None:
        """Add a picture."""
        line = {name: row[name] for name in ("file", "prompt", "seed")} | (
            {"error": row["error"]} if row["error"] else {}
        )
        self.lines[line["file"]] = line
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line, ensure_ascii=False) + "\n")

    def sort(self) -> None:
        """Write all lines in the order of their files."""
        lines = (json.dumps(self.lines[name], ensure_ascii=False) + "\n" for name in sorted(self.lines))
        write_whole(self.path, "".join(lines))


def read_rows(arguments: argparse.Namespace, done: set[str]) -> "ray.data.Dataset":
    """Return prompts and seeds that are still to be painted.

    Raises:
        ValueError: no such file, another kind of file, or one without prompts.
    """
    import ray.data

    path, name = arguments.prompts_file, arguments.prompts_file.suffix
    if name not in (".jsonl", ".parquet") or not path.is_file():
        raise ValueError(f"prompts_file must be a *.jsonl or *.parquet file that exists, got {str(path)!r}.")
    read = ray.data.read_parquet if name == ".parquet" else ray.data.read_json
    rows = read(str(path.resolve()))
    if "prompt" not in (rows.schema() or rows).names:
        raise ValueError(f"prompts_file must have a column `prompt`, got {str(path)!r} without.")
    seed, samples = arguments.seed, arguments.num_samples

    def pictures(row: Row) -> list[Row]:
        prompt, given = str(row["prompt"] or ""), row.get("seed")
        first = seed if given is None or given != given else int(given)
        return [{"prompt": prompt, "seed": first + sample} for sample in range(samples)]

    todo = rows.flat_map(pictures).filter(lambda row: picture_name(row["prompt"], row["seed"]) not in done)
    # Read and cut before workers start: they may take all CPUs, and what comes before them would wait for one.
    todo = todo.materialize()
    return todo.repartition(max(1, -(-todo.count() // arguments.batch_size))).materialize()


def paint(arguments: argparse.Namespace) -> Row:
    """Paint what the manifest has not, and return the summary."""
    import ray
    import ray.data

    model = {name: getattr(arguments, name) for name in ("model_path", "text_model_path", "device", "dtype", "cache")}
    folder = arguments.output_dir.resolve()
    manifest = Manifest(folder, model | {"guidance_scale": arguments.guidance_scale})
    started = time.perf_counter()
    rows = read_rows(arguments, set(manifest.lines))
    count = rows.count()
    seconds: dict[str, list[float]] = {"loading": [], "painting": [], "writing": []}
    if count:
        painted = rows.map_batches(
            Worker,
            fn_constructor_args=(model, folder / "pictures", arguments.guidance_scale, arguments.cpus),
            batch_size=arguments.batch_size,
            compute=ray.data.ActorPoolStrategy(size=arguments.workers),
            num_cpus=arguments.cpus,
            num_gpus=arguments.gpus,
        )
        for row in painted.iter_rows():
            manifest.add(row)
            for name, values in seconds.items():
                values.append(row[name])
        manifest.sort()
    summary = {
        "painted": count,
        "in_manifest": len(manifest.lines),
        "refused": sum("error" in line for line in manifest.lines.values()),
        "workers": arguments.workers,
        "seconds": time.perf_counter() - started,
        **{f"mean_seconds_{name}": sum(values) / max(1, len(values)) for name, values in seconds.items()},
    }
    write_whole(folder / "summary.json", json.dumps(summary, indent=2) + "\n")
    return summary


def main(argv: Sequence[str] | None = None) -> int:
    """Run the script; return its exit status."""
    parser = build_parser()
    arguments = parser.parse_args(argv)
    try:
        need_extra("ray", "examples/ray_batch.py", "ray", "pyarrow", "PIL")
        for name in ("num_samples", "workers", "batch_size"):
            if getattr(arguments, name) < 1:
                raise ValueError(f"{name} must be a whole number from 1, got {getattr(arguments, name)}.")
        summary = paint(arguments)
    except (ValueError, OSError, ImportError) as error:
        print(f"{parser.prog}: {' '.join(str(error).split())}", file=sys.stderr)
        return BAD_INPUT
    print(json.dumps(summary, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
