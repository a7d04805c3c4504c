"""Put a trained transformer and text model into the package: `python -m training.export_transformer`.

It paints with the export and with what ships; an export that does not load, or is worse on held-out captions, does not
replace it.
"""

import argparse
import json
import shutil
from dataclasses import asdict, fields
from pathlib import Path

import torch

from training.assemble import Sampling, assemble
from training.common import EMBEDDED, RUNS, add_device_arguments, chosen_device, swap_folder
from training.judge import Judging, Verdict, judge
from training.pieces import add_facts

PARTS = ("tokenizer", "llm", "text_encoder")


def install(run: Path, sampling: Sampling, folder: Path = EMBEDDED) -> None:
    """Replace the package's model by an export: all folders are whole before any takes its place."""
    fresh = folder / ".new"
    shutil.rmtree(fresh, ignore_errors=True)
    assemble(run, fresh, sampling)
    for part in PARTS:
        if (fresh / part).is_dir():  # the tokenizer is there only where the run has its own
            swap_folder(fresh / part, folder / part)
    fresh.rmdir()


def judge_and_install(
    run: Path, sampling: Sampling, judging: Judging, device: torch.device, wanted: bool, folder: Path = EMBEDDED
) -> Verdict:
    """Judge an export, note the report in its manifest, and install it if it is wanted and may replace what ships."""
    report, verdict = judge(run, sampling, judging, device)
    add_facts(run, judged=report, verdict=asdict(verdict))
    print(json.dumps({"judged": report, "verdict": asdict(verdict)}), flush=True)
    if wanted and verdict.replaces:
        install(run, sampling, folder)
    return verdict


def add_judging_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `Sampling` (its numbers) and `Judging`."""
    for name, value in (*_numbers(Sampling()).items(), *asdict(Judging()).items()):
        parser.add_argument(f"--{'paint_batch' if name == 'batch' else name}", type=type(value), default=value)


def judging_from(arguments: argparse.Namespace) -> tuple[Sampling, Judging]:
    """Sampling and judging as the arguments have them."""
    values = vars(arguments)
    sampling = Sampling(**{name: values[name] for name in _numbers(Sampling())})
    return sampling, Judging(values["pictures"], values["late_stages"], values["paint_batch"])


def _numbers(sampling: Sampling) -> dict[str, float]:
    switches = {field.name for field in fields(sampling) if isinstance(field.default, bool)}
    return {name: value for name, value in asdict(sampling).items() if name not in switches}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, default=RUNS / "transformer", help="folder with the export")
    add_device_arguments(parser)
    add_judging_arguments(parser)
    arguments = parser.parse_args()
    device, (sampling, judging) = chosen_device(arguments), judging_from(arguments)
    verdict = judge_and_install(arguments.run, sampling, judging, device, wanted=True)
    if not verdict.replaces:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
