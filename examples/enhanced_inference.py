"""Paint pictures from prompts; without arguments, four sample prompts with the embedded model.

Writes one PNG per picture, a captioned grid and `results.json` to the output folder. The stage cache is off unless a
cache flag is given. Under `torchrun` or `accelerate launch` every process paints its share of the prompts.
"""

import argparse
import math
import platform
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hart
from hart.utils.command_line import (
    BAD_INPUT,
    INTERRUPTED,
    EndOnInterrupt,
    Parser,
    fraction,
    from_zero,
    tell,
    whole_number,
)
from hart.utils.prompts_file import read_prompts_file
from hart.utils.ranks import Rank, rank_of_process

if TYPE_CHECKING:
    from PIL.Image import Image

    from hart import HARTPipeline, PipelineOutput
    from hart.modules.cache_config import HARTCacheConfig
    from hart.utils import StagePreviews

# Pictures narrower than this are enlarged in the grid and in strips, so that captions can be read.
GRID_WIDTH = 256
STRIP_WIDTH = 128
GENERAL_PROMPTS = ("a red apple on a table", "a castle by a lake", "a cat in the snow", "a street at night in the rain")


def build_parser() -> argparse.ArgumentParser:
    """Describe the command line."""
    parser = Parser(description=__doc__, allow_abbrev=False, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--prompts", nargs="+", metavar="TEXT", help="what to paint (default: four samples)")
    source.add_argument("--prompts_file", type=Path, metavar="FILE", help="text file, one prompt a line")
    parser.add_argument("--model_path", metavar="PATH", help="checkpoint or hub id (default: the embedded model)")
    parser.add_argument(
        "--tokenizer_path", "--text_model_path", dest="text_model_path", metavar="PATH",
        help="the text model and its tokenizer (default: text_encoder beside the checkpoint's llm)",
    )  # fmt: skip
    parser.add_argument("--seed", type=whole_number(0), default=0, help="of the first picture; each next one adds 1")
    parser.add_argument("--num_samples", type=whole_number(1), default=1, help="pictures per prompt")
    parser.add_argument("--batch_size", type=whole_number(1), help="pictures painted at once (default: 8; 1 on CPU)")
    parser.add_argument("--cfg_scale", type=from_zero, help="how strongly prompts steer (default: the model's own)")
    parser.add_argument("--device", help="cpu, cuda, cuda:N or mps (default: the fastest there is)")
    parser.add_argument("--dtype", help="float32, bfloat16 or float16 (default: what the device is fast in)")
    parser.add_argument("--output_dir", type=Path, default=Path("outputs"), metavar="FOLDER", help="where to write")
    parser.add_argument("--stages", action="store_true", help="save a strip of previews after every stage")
    add_cache_flags(parser)
    return parser


def add_cache_flags(parser: argparse.ArgumentParser) -> None:
    """Describe the flags of the stage cache; single fields alone mean plain reuse at the stages of `original-cache`."""
    group = parser.add_argument_group("stage cache")
    start = group.add_mutually_exclusive_group()
    start.add_argument("--cache_preset", metavar="NAME", help="settings by name, such as original-cache")
    start.add_argument("--custom_cache_config", type=Path, metavar="FILE", help="settings from a JSON file")
    stage = whole_number(1)
    group.add_argument("--skip_stages", nargs="+", type=stage, metavar="N", help="stages that may reuse, as tokens")
    group.add_argument("--cache_stages", nargs="+", type=stage, metavar="N", help="stages that are kept, as tokens")
    group.add_argument("--threshold", type=fraction, help="reuse only where the similarity is at least this")
    group.add_argument("--interpolation_mode", metavar="MODE", help="bilinear, nearest, bicubic or area")
    group.add_argument("--disable_attn_cache", action="store_true", help="attention always computes")
    group.add_argument("--disable_mlp_cache", action="store_true", help="MLPs always compute")
    group.add_argument("--adaptive_threshold", action="store_true", help="the threshold follows what is seen")
    group.add_argument("--calibrate", action="store_true", help="measure thresholds on the prompts before painting")
    group.add_argument("--benchmark", action="store_true", help="time the settings against no cache: benchmark.json")
    group.add_argument(
        "--compare_configs", nargs="*", metavar="PRESET",
        help="paint under each preset (default: all): comparison.png and comparison.json, nothing else",
    )  # fmt: skip


def cache_settings(arguments: argparse.Namespace, patch_nums: Sequence[int]) -> "HARTCacheConfig | None":
    """Return what the cache flags say on a model's pyramid; None where there are none."""
    from hart.modules.cache_config import HARTCacheConfig

    given = {
        name: getattr(arguments, name)
        for name in ("skip_stages", "cache_stages", "threshold", "interpolation_mode")
        if getattr(arguments, name) is not None
    }
    switches = {"disable_attn_cache": "enable_attn_cache", "disable_mlp_cache": "enable_mlp_cache"}
    given |= {field: False for flag, field in switches.items() if getattr(arguments, flag)}
    given |= {"adaptive_threshold": True} if arguments.adaptive_threshold else {}
    preset, file = arguments.cache_preset, arguments.custom_cache_config
    if not (given or preset or file or arguments.calibrate or arguments.benchmark):
        return None
    if file is not None:
        config = HARTCacheConfig.from_json(file)
    else:
        config = HARTCacheConfig.from_preset(preset or "original-cache", patch_nums=patch_nums)
        if preset is None and given:
            config = HARTCacheConfig(config.skip_stages, config.cache_stages)
    for name, value in given.items():
        setattr(config, name, value)
    if "skip_stages" in given:
        config.refresh_ratio = {s: r for s, r in config.refresh_ratio.items() if s in config.skip_stages}
    return config


def read_prompts(arguments: argparse.Namespace) -> list[str]:
    """Return the prompts of the command line or the file, else samples of what the model can paint."""
    if arguments.prompts_file is not None:
        return read_prompts_file(arguments.prompts_file, "prompts file", "is empty; write one prompt a line")
    if arguments.prompts is not None:
        return list(arguments.prompts)
    return hart.sample_prompts() if is_embedded(arguments.model_path) else list(GENERAL_PROMPTS)


def is_embedded(model_path: str | None) -> bool:
    """Whether a path names the model inside the package."""
    embedded = hart.embedded_model_path().resolve()
    return model_path is None or Path(model_path).resolve() in (embedded, embedded.parent)


def paint(arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Paint into a folder and return what `results.json` says."""
    from hart import HARTPipeline
    from hart.utils import StagePreviews, save_json

    prompts, rank = read_prompts(arguments), rank_of_process()
    if rank.world > 1 and (arguments.calibrate or arguments.benchmark or arguments.compare_configs is not None):
        raise ValueError(f"WORLD_SIZE must be 1 to calibrate, benchmark or compare, got {rank.world}.")
    started = time.perf_counter()
    pipeline = HARTPipeline.from_pretrained(
        arguments.model_path, arguments.text_model_path, arguments.dtype, rank.device(arguments.device)
    )
    loading = time.perf_counter() - started
    if arguments.cfg_scale is None:
        arguments.cfg_scale = pipeline.generation_config["guidance_scale"]
    if arguments.compare_configs is not None:
        return compare(arguments, pipeline, prompts, folder)
    measured = prepare_cache(arguments, pipeline, prompts, folder)
    previews = StagePreviews() if arguments.stages else None
    places, share = share_of(rank, prompts, arguments.num_samples)
    with EndOnInterrupt(previews) as callback:
        output = pipeline(
            share,
            guidance_scale=arguments.cfg_scale,
            seed=[arguments.seed + place for place in places],
            batch_size=arguments.batch_size,
            callback_on_stage_end=callback,
        )
    drop_unfinished(output, arguments.batch_size or pipeline.default_batch_size)
    results = {
        "pictures": save_pictures(output, previews, folder, places[: len(output.images)], rank),
        "interrupted": output.stopped_at is not None,
        "settings": settings(arguments, pipeline),
        "versions": versions(),
        "seconds": {"loading": loading, **output.timings},
        "cache": output.cache_statistics,
        **measured,
    }
    save_json(results, folder / rank.named("results.json"))
    return results


def share_of(rank: Rank, prompts: Sequence[str], num_samples: int) -> tuple[list[int], list[str]]:
    """Return what this process paints: prompts, and the place of each among the pictures of all processes.

    Raises:
        ValueError: there are more processes than prompts.
    """
    if rank.world > len(prompts):
        raise ValueError(f"WORLD_SIZE must be at most the number of prompts, {len(prompts)}, got {rank.world}.")
    pictures = [
        (place * num_samples + sample, text) for place, text in rank.share(prompts) for sample in range(num_samples)
    ]
    return [place for place, _ in pictures], [text for _, text in pictures]


def drop_unfinished(output: "PipelineOutput", batch_size: int) -> None:
    """Leave out the pictures of a batch that Ctrl-C ended; a KeyboardInterrupt if none is finished."""
    if output.stopped_at is None:
        return
    finished = (len(output.images) - 1) // batch_size * batch_size
    if not finished:
        raise KeyboardInterrupt
    for part in (output.images, output.prompts, output.seeds):
        del part[finished:]


def prepare_cache(
    arguments: argparse.Namespace, pipeline: "HARTPipeline", prompts: list[str], folder: Path
) -> dict[str, Any]:
    """Set the cache as the flags say, and measure what they ask for; return that for `results.json`."""
    model: Any = pipeline.model
    config = cache_settings(arguments, model.config.patch_nums)
    model.set_cache_config(config)
    measured: dict[str, Any] = {}
    if not (arguments.calibrate or arguments.benchmark):
        return measured
    texts = {"seed": arguments.seed, "cfg": arguments.cfg_scale, **encoded(pipeline, prompts)}
    if arguments.calibrate:
        table = folder / "similarity_table.json"
        found = model.calibrate_thresholds(
            min(len(prompts), model.cache_config.calibration_samples), sim_path=table, return_config=True, **texts
        )
        model.set_cache_config(found.pop("config"))
        # By its name: the folder is a temporary one until all is done, and may be moved later.
        saved = replace(model.cache_config, sim_path=table.name)
        saved.to_json(folder / "cache_config.json")
        measured["calibration"] = found | {"sim_path": table.name}
    if arguments.benchmark:
        report = model.benchmark_performance(len(prompts), json_path=folder / "benchmark.json", **texts)
        measured["benchmark"] = {name: report[name] for name in ("run_tag", "benchmark", "speed_up", "ceiling")}
    return measured


def encoded(pipeline: "HARTPipeline", prompts: list[str]) -> dict[str, Any]:
    """Return features of the prompts, by the pipeline's own text model, as calibration and benchmark take them."""
    context = pipeline.encode(pipeline.checked_prompts(prompts))
    return {
        "label_B": context.context,
        "context_position_ids": context.position_ids,
        "context_mask": context.mask,
    }


def compare(
    arguments: argparse.Namespace, pipeline: "HARTPipeline", prompts: list[str], folder: Path
) -> dict[str, Any]:
    """Paint the prompts under several presets and write one sheet and one JSON."""
    from hart.benchmark.compare import compare_presets
    from hart.utils import save_json, save_png

    comparison = compare_presets(
        pipeline, prompts, arguments.compare_configs, arguments.seed, arguments.cfg_scale, arguments.batch_size
    )
    assert comparison.rows[0].images is not None
    scale = _enlarged(comparison.rows[0].images.shape[-1], GRID_WIDTH)
    save_png(comparison.sheet(scale), folder / "comparison.png")
    results = {**comparison.to_dict(), "settings": settings(arguments, pipeline), "versions": versions()}
    save_json(results, folder / "comparison.json")
    return results


def save_pictures(
    output: "PipelineOutput", previews: "StagePreviews | None", folder: Path, places: list[int], rank: Rank
) -> list[dict[str, Any]]:
    """Write pictures, strips and the grid; return prompt, seed and file names of each picture."""
    from hart.utils import file_stem, grid, save_png

    width = output.images[0].width
    strips: Sequence[Image | None] = [None] * len(output.images)
    if previews is not None:
        strips = previews.strips(scale=_enlarged(width, STRIP_WIDTH))[: len(output.images)]
    entries, captions = [], []
    for index, (place, image, strip) in enumerate(zip(places, output.images, strips, strict=True)):
        prompt, seed = output.prompts[index], output.seeds[index]
        name = f"{place:03}_{file_stem(prompt)}_seed{seed}"
        entry = {"prompt": prompt, "seed": seed, "file": save_png(image, folder / f"{name}.png").name}
        if strip is not None:
            entry["stages_file"] = save_png(strip, folder / f"{name}_stages.png").name
        entries.append(entry)
        captions.append(f"{prompt} (seed {seed})")
    save_png(grid(output.images, captions, scale=_enlarged(width, GRID_WIDTH)), folder / rank.named("grid.png"))
    return entries


def settings(arguments: argparse.Namespace, pipeline: "HARTPipeline") -> dict[str, Any]:
    """Return everything that decides what the pictures look like, and where they were painted."""
    import torch

    return {
        "model_path": arguments.model_path or str(hart.embedded_model_path()),
        "text_model_path": arguments.text_model_path,
        "guidance_scale": arguments.cfg_scale,
        "num_samples": arguments.num_samples,
        "batch_size": arguments.batch_size or pipeline.default_batch_size,
        "device": str(pipeline.device),
        "dtype": str(pipeline.dtype).removeprefix("torch."),
        "threads": torch.get_num_threads(),
    }


def versions() -> dict[str, str]:
    """Return the versions that pictures depend on."""
    import torch
    import transformers

    return {
        "hart": hart.__version__,
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "python": platform.python_version(),
    }


def report(results: dict[str, Any], folder: Path) -> str:
    """Say what was painted, how long it took and where it is."""
    if "rows" in results:
        lines = [f"{len(results['rows'])} presets compared, in {folder.resolve()}:", "  comparison.png"]
        return "\n".join([*lines, "  comparison.json"])
    count, seconds = len(results["pictures"]), results["seconds"]
    lines = [f"{count} picture{'s' * (count != 1)} painted in {seconds['total']:.1f} s, in {folder.resolve()}:"]
    lines += [f"  {entry[key]}" for entry in results["pictures"] for key in ("file", "stages_file") if key in entry]
    lines += [f"  {rank_of_process().named(name)}" for name in ("grid.png", "results.json")]
    if "calibration" in results:
        lines += ["  similarity_table.json", "  cache_config.json"]
    if "benchmark" in results:
        lines += ["  benchmark.json"]
    if results["interrupted"]:
        lines.append("  interrupted: the other pictures are missing")
    if results["cache"] is not None:
        lines.append(f"stage cache: {results['cache']['cache_hit_rate']:.0%} of its decisions reused")
    return "\n".join(lines)


def _enlarged(width: int, wanted: int) -> int:
    """A whole factor that makes a picture about as wide as wanted; 1 if it is already."""
    return max(1, math.ceil(wanted / width))


def main(argv: Sequence[str] | None = None) -> int:
    """Run the script; return its exit status."""
    parser = build_parser()
    arguments = parser.parse_args(argv)
    # Imported late: help and bad flags should not wait for torch.
    from hart.utils import finished_folder

    try:
        with finished_folder(arguments.output_dir) as folder:
            results = paint(arguments, folder)
    except KeyboardInterrupt:
        print(f"{parser.prog}: interrupted before a picture was finished; nothing was written.", file=sys.stderr)
        return INTERRUPTED
    except (ValueError, OSError, ImportError) as error:
        sentence = " ".join(str(error).split())
        print(f"{parser.prog}: {sentence}", file=sys.stderr)
        return BAD_INPUT
    tell(report(results, arguments.output_dir))
    return INTERRUPTED if results.get("interrupted") else 0


if __name__ == "__main__":
    sys.exit(main())
