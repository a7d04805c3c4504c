"""Measure cache settings on a checkpoint: `python -m hart.benchmark --output_dir FOLDER`.

Speed, quality and memory of presets, peers, JSON files and sweeps, painted in turn on the same prompts and seeds. The
output folder gets `results.json`, `results.csv`, `report.html` and all pictures; the same command goes on where a
killed one stopped. It needs the extra `benchmark`.
"""

import argparse
import logging
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from hart.benchmark.judge.exports import EXPORTS
from hart.benchmark.prompt_files import read_prompt_files
from hart.benchmark.report import need_plots, write_report
from hart.benchmark.results import Results
from hart.utils.command_line import BAD_INPUT, INTERRUPTED, Parser, whole_number
from hart.utils.locks import only_user

if TYPE_CHECKING:
    from hart.benchmark.run.work import WorkRequest
    from hart.benchmark.settings.choose import NamedSetting
    from hart.pipeline import HARTPipeline

logger = logging.getLogger(__name__)


def build_parser() -> argparse.ArgumentParser:
    """Describe the command line."""
    parser = Parser(prog="python -m hart.benchmark", description=__doc__, allow_abbrev=False)
    parser.add_argument("--checkpoint", metavar="FOLDER", help="checkpoint (default: the embedded model)")
    parser.add_argument("--text_model_path", metavar="FOLDER", help="default: text_encoder beside the checkpoint's llm")
    parser.add_argument(
        "--prompts_file", nargs="+", default=[], type=Path, metavar="FILE",
        help="one prompt a line, or GenEval's, MJHQ-30K's or HPSv2's own JSON (default: held-out scenes)",
    )  # fmt: skip
    parser.add_argument("--settings", nargs="+", default=[], metavar="NAME", help="presets and peers")
    parser.add_argument("--files", nargs="+", default=[], type=Path, metavar="FILE", help="settings from JSON files")
    parser.add_argument(
        "--sweep", action="append", default=[], metavar="SWEEP",
        help="field=start:stop:step, field=a,b,c or refresh; may be given again",
    )  # fmt: skip
    parser.add_argument("--base", default="original-cache", metavar="NAME", help="what sweeps start from")
    parser.add_argument(
        "--plan", type=float, metavar="DROP",
        help="plan first for this drop of the score (0.01), presets and peers as candidates, and measure the plan, too",
    )  # fmt: skip
    parser.add_argument(
        "--plan_fidelity", type=float, metavar="DB",
        help="plan first for this loss of fidelity (0.5), on captions of the embedded model, in place of --plan",
    )  # fmt: skip
    parser.add_argument("--plan_psnr", type=float, metavar="DB", help="least median PSNR of the plan (default: none)")
    parser.add_argument(
        "--plan_pictures", type=int, nargs=3, default=[12, None, None], metavar=("SEARCH", "VERIFY", "CONFIRM"),
        help="pictures of the plan's search, of its verification and of its confirmation (default: 12, and for each of "
        "the others as many as the drop needs: 500 for 0.01; 48 by fidelity, 32 where the latent map judges)",
    )  # fmt: skip
    parser.add_argument("--num_pictures", type=int, default=32, help="pictures of each setting (default: 32)")
    parser.add_argument("--batch_size", type=int, default=4, help="pictures painted at once (default: 4)")
    parser.add_argument("--guidance_scale", type=float, help="how strongly prompts steer (default: the model's own)")
    parser.add_argument("--seed", type=whole_number(0), default=0, help="of the first picture; each next one adds 1")
    parser.add_argument("--device", help="cpu, cuda, cuda:N or mps (default: the fastest there is)")
    parser.add_argument("--dtype", help="float32, bfloat16 or float16 (default: what the device is fast in)")
    parser.add_argument("--compile", action="store_true", help="compile every block's branches with torch.compile")
    parser.add_argument("--output_dir", type=Path, default=Path("benchmark"), metavar="FOLDER", help="where to write")
    parser.add_argument("--speed_only", action="store_true", help="do not judge pictures (those of random weights)")
    parser.add_argument(
        "--no-memory", action="store_true", help="do not measure peaks, and count operations, in fresh processes"
    )
    parser.add_argument(
        "--warm_up", choices=["each", "once"], default="each",
        help="before the first round, each setting paints a batch, or no-cache alone (for minutes a picture)",
    )  # fmt: skip
    parser.add_argument(
        "--export", nargs=2, action="append", default=[], metavar=("TOOL", "DIR"),
        help=f"pictures as other tools read them: {', '.join(EXPORTS)}; may be given again",
    )  # fmt: skip
    parser.add_argument(
        "--report", type=Path, metavar="FILE",
        help="paint nothing: draw report and tables of this results.json again, beside it",
    )  # fmt: skip
    parser.add_argument(
        "--any_revision", action="store_true", help="go on with a run that another revision of the code began"
    )
    parser.add_argument("--against", type=Path, metavar="FILE", help="results.json of another run to compare with")
    return parser


def main(given: list[str] | None = None) -> int:
    """Run the command line and return its exit status."""
    given = sys.argv[1:] if given is None else given
    arguments = build_parser().parse_args(given)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    command = shlex.join(["python", "-m", "hart.benchmark", *given])
    folder = arguments.output_dir
    try:
        if arguments.report is not None:
            arguments.output_dir = arguments.report.parent
        other = None if arguments.against is None else Results.from_json(arguments.against)  # before hours of painting
        if arguments.report is None:
            with only_user(folder, "output_dir"):
                write_outputs(measure(arguments, command), other, arguments)
        else:
            write_outputs(Results.from_json(arguments.report), other, arguments)
    except KeyboardInterrupt:
        logger.error("interrupted%s.", ending(arguments, folder))
        return INTERRUPTED
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        logger.error("out of memory: %s; %s.", smaller_words(arguments.batch_size), shown_words(folder))
        return 1
    except (ValueError, ImportError, FileNotFoundError) as error:
        logger.error("%s", error)
        return BAD_INPUT
    except OSError as error:
        logger.error("%s%s.", str(error).removesuffix("."), ending(arguments, folder))
        return 1
    return 0


def ending(arguments: argparse.Namespace, folder: Path) -> str:
    """How a message ends: what was finished and how to go on, where something was."""
    began = arguments.report is None and (folder / "batches.jsonl").is_file()
    return f": {go_on_words(folder)}" if began else ""


def go_on_words(folder: Path) -> str:
    """Where what was finished lies, and how to go on."""
    return f"{shown_words(folder)}; the same command goes on from there"


def shown_words(folder: Path) -> str:
    """Where what was finished lies, and how to look at it."""
    path = folder / "results.json"
    found = f"what was finished is in {str(folder)!r}"
    return f"{found}, and --report {str(path)!r} shows it" if path.is_file() else found


def is_out_of_memory(error: RuntimeError) -> bool:
    """Whether a device, or torch's allocator on the CPU, had no room; by name, for torch may not be imported yet."""
    return type(error).__name__ == "OutOfMemoryError" or "DefaultCPUAllocator" in str(error)


def smaller_words(batch_size: int) -> str:
    """What to do about too little memory; another batch size is another run."""
    if batch_size == 1:
        return "one picture at a time is too much; leave out settings, or take a smaller --dtype"
    return f"choose another --output_dir and paint fewer than --batch_size {batch_size} at once"


def measure(arguments: argparse.Namespace, command: str) -> Results:
    """Load, choose settings, paint and judge, once it is clear that all can be judged and shown."""
    # Imported late: help and wrong arguments should not wait for torch.
    from hart.benchmark.judge.quality import need_metrics
    from hart.benchmark.run.planning import PLAN_NAME
    from hart.benchmark.run.runner import run_benchmark
    from hart.benchmark.settings.choose import choose_settings
    from hart.pipeline import HARTPipeline

    if not arguments.speed_only:
        need_metrics()  # first: the extra that it names holds the report's packages too
    need_plots()
    check_exports(arguments)
    request = work_request(arguments)
    pipeline = HARTPipeline.from_pretrained(
        arguments.checkpoint, arguments.text_model_path, arguments.dtype, arguments.device, progress=False
    )
    config = pipeline.model.config
    settings = choose_settings(
        config.patch_nums, config.depth, arguments.settings, arguments.files, arguments.sweep, arguments.base
    )
    if arguments.plan is not None or arguments.plan_fidelity is not None:
        if any(setting.name == PLAN_NAME for setting in settings):
            raise ValueError(f"settings hold {PLAN_NAME!r}, and --plan adds one of that name; rename the file.")
        settings.append(plan_first(pipeline, request, arguments))
    return run_benchmark(
        pipeline,
        settings,
        request,
        arguments.output_dir,
        arguments.checkpoint,
        arguments.text_model_path,
        memory=not arguments.no_memory,
        command=command,
        speed_only=arguments.speed_only,
        any_revision=arguments.any_revision,
        warm_up=arguments.warm_up,
    )


def plan_first(pipeline: "HARTPipeline", request: "WorkRequest", arguments: argparse.Namespace) -> "NamedSetting":
    """The planner's setting, or the one that an earlier call left in the folder."""
    from hart.benchmark.run.planning import PlanRequest, planned_setting

    counts = tuple(arguments.plan_pictures)
    asked = PlanRequest(arguments.plan, arguments.plan_psnr, counts, max_fidelity_loss=arguments.plan_fidelity)
    return planned_setting(
        pipeline, asked, request, arguments.output_dir, arguments.checkpoint, any_revision=arguments.any_revision
    )


def work_request(arguments: argparse.Namespace) -> "WorkRequest":
    """What the flags say about the pictures."""
    from hart.benchmark.run.work import WorkRequest

    prompts, metadata = read_prompt_files(arguments.prompts_file)
    if len(prompts) > arguments.num_pictures:
        logger.warning(
            "--num_pictures is %d: of %d prompts the first are painted.", arguments.num_pictures, len(prompts)
        )
    return WorkRequest(
        num_pictures=arguments.num_pictures,
        batch_size=arguments.batch_size,
        guidance_scale=arguments.guidance_scale,
        seed=arguments.seed,
        prompts=prompts,
        metadata=metadata if any(len(entry) > 1 for entry in metadata) else (),
        compiled=arguments.compile,
    )


def check_exports(arguments: argparse.Namespace) -> None:
    """Refuse an unknown tool before anything is painted."""
    from hart.modules.cache.registry import unknown

    for tool, _ in arguments.export:
        if tool not in EXPORTS:
            raise ValueError(unknown("tool to export to", tool, list(EXPORTS)))


def write_outputs(results: Results, other: Results | None, arguments: argparse.Namespace) -> None:
    """Tables, report and exports beside `results.json`."""
    from hart.benchmark.report.exported_tables import markdown_table, write_csv

    folder = arguments.output_dir
    written = [
        arguments.report or folder / "results.json",
        write_csv(results, folder / "results.csv"),
        write_report(results, folder),
    ]
    for tool, target in arguments.export:
        written.append(EXPORTS[tool](results, folder, Path(target)))
    logger.info("%s\n", markdown_table(results))
    if other is not None:
        from hart.benchmark.report.against import compare_runs

        logger.info("%s\n", compare_runs(results, other))
    for recommendation in results.recommendations:
        logger.info("%s: %s. %s", recommendation.goal, recommendation.setting, recommendation.why)
    logger.info("wrote %s", ", ".join(str(path) for path in written))


if __name__ == "__main__":
    sys.exit(main())
