"""Encode, train, evaluate and export in one command: `python -m training.all --minutes 20 --out outputs/run`.

Needs nothing but this repository. The same command goes on where it stopped, on this machine or on another that was
given the folder. `--piece_minutes` ends a piece of training early; `--install` puts the model into the package if it
is no worse than what ships.
"""

import argparse
import shutil
from pathlib import Path

from training.budget import add_budget_arguments, budget_from
from training.common import RUNS, add_device_arguments, chosen_device, tokenizer_folder
from training.export_tokenizer import export_tokenizer
from training.export_transformer import add_judging_arguments, judge_and_install, judging_from
from training.latents import encode_all, load_tokenizer
from training.train_tokenizer import Settings as TokenizerSettings
from training.train_tokenizer import TokenizerTraining
from training.train_transformer import add_training_arguments, training_from


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=RUNS / "transformer", help="folder to write to and go on from")
    parser.add_argument("--tokenizer_minutes", type=float, help="train a tokenizer for this run first; default: none")
    parser.add_argument("--install", action="store_true", help="replace the package's model if it is no worse")
    add_device_arguments(parser)
    add_budget_arguments(parser, steps=3000)
    add_training_arguments(parser)
    add_judging_arguments(parser)
    return parser


def main(argv: list[str] | None = None) -> None:
    arguments = build_parser().parse_args(argv)
    device, limits = chosen_device(arguments), budget_from(arguments)
    sampling, judging = judging_from(arguments)
    judging.check()
    own_tokenizer = arguments.out / "tokenizer"
    if arguments.tokenizer_minutes is not None and not own_tokenizer.is_dir():
        run = arguments.out / "tokenizer_run"
        tokenizer = TokenizerTraining(TokenizerSettings(), run, device, arguments.compile)
        if not tokenizer.run(minutes=arguments.tokenizer_minutes):
            return
        export_tokenizer(run, own_tokenizer, device)
        shutil.rmtree(run)
    encode_all(
        load_tokenizer(tokenizer_folder(arguments.out)).to(device), folder=arguments.latents, most=arguments.scenes
    )
    training = training_from(arguments, arguments.out, device)
    ended = training.run(arguments.log_every, arguments.save_minutes, **limits)
    if training.stopped or not judging.pictures:
        return
    judge_and_install(arguments.out, sampling, judging, device, wanted=arguments.install and ended)


if __name__ == "__main__":
    main()
