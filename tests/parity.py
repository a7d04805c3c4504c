"""Replays every recorded run of the published model and measures how far ours is from it.

`python -m tests.parity` prints the worst error of every fixture beside its limit (HART_SPEC.md, section 17).
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import torch
from torch import Tensor

from hart.modules.models.autoencoder import HARTAutoEncoder
from hart.modules.models.transformer import HARTForT2I
from hart.modules.models.transformer import generation as generation_module
from hart.modules.models.transformer.training import TrainingDraws
from hart.modules.networks.sampling import tokens_to_decode
from tests.golden import FIXTURES, load

RUNS = (
    "llm.argmax",
    "llm.sampled_b2",
    "llm.smooth_b1",
    "llm.cfg_unguided_diffusion",
    "llm.maskgit3",
    "llm.final_stage1",
    "llm_l2norm.argmax",
    "llm_adaln.argmax",
    "llm_adaln_max.argmax",
    "llm_shared_aln.argmax",
    "llm_gpt2.argmax_patched",
)
TRAINING_RUNS = ("llm.train_forward", "llm_adaln.train_forward")

# Absolute limits by kind of tensor. Runs with `more_smooth` divide by temperatures down to 0.03 at every stage and feed
# the result back, so the last digits grow; there a share of the indices may differ.
LIMITS = {"blocks": 1e-4, "logits": 1e-4, "maps": 1e-4, "diffusion": 1e-4, "image": 1e-4, "indices": 0.0, "loss": 1e-4}
SMOOTH_LIMITS = LIMITS | {
    "blocks": 2e-3,
    "logits": 2e-3,
    "maps": 5e-2,
    "diffusion": 5e-2,
    "image": 5e-3,
    "indices": 0.01,
}
KINDS = {
    "block": "blocks",
    "h_last": "blocks",
    "logits": "logits",
    "idx": "indices",
    "image": "image",
    "diff.z": "blocks",
    "diff.out": "diffusion",
    "diff_loss": "loss",
    "f_hat": "maps",
    "next_map": "maps",
    "h.": "maps",
}
# Pictures of the fixture `vae` were stored with gaps.
PICTURE_STRIDES = {"fhat_to_img_of_f": 3, "rec_discrete": 3, "forward.skip0.out": 3, "idxBl_to_img_last": 8}
# Inputs and draws, and the soft weights that our code never forms as a tensor of its own (`units` covers them).
NOT_COMPARED = ("in.", "noise.", "orders", "soft.")


@dataclass
class Report:
    """Worst absolute error (for indices: share that differs) per kind of tensor, with the limits of the run."""

    run: str
    limits: dict[str, float]
    worst: dict[str, float] = field(default_factory=dict)
    compared: list[str] = field(default_factory=list)

    def add(self, name: str, error: float) -> None:
        kind = kind_of(name)
        # A NaN must not lose against a number.
        known = self.worst.get(kind, 0.0)
        self.worst[kind] = error if error != error else max(known, error)
        self.compared.append(name)

    def too_large(self) -> dict[str, float]:
        return {kind: error for kind, error in self.worst.items() if not error <= self.limits[kind]}


def kind_of(name: str) -> str:
    return next(kind for prefix, kind in KINDS.items() if name.startswith(prefix))


@cache
def model_of(folder: str) -> HARTForT2I:
    """A fixture checkpoint in float32, shared by all tests: nobody may change it."""
    return HARTForT2I.from_pretrained(FIXTURES / folder, dtype=torch.float32)


def tokenizer() -> HARTAutoEncoder:
    return model_of("llm").vae


def replay_arguments(model: HARTForT2I, recorded: dict[str, Tensor], notes: dict[str, Any]) -> dict[str, Any]:
    """Keyword arguments of `autoregressive_infer_cfg` that repeat a recorded run."""
    arguments = dict(notes["args"])
    if notes["sampler"] == "argmax":
        arguments["top_k"] = 1
    elif arguments["B"] > 1:  # the published code shares one generator among the batch
        arguments["g_seed"] = torch.Generator().manual_seed(arguments["g_seed"])
    arguments["label_B"] = recorded["in.context"]
    arguments["context_position_ids"] = recorded["in.context_position_ids"]
    arguments["context_mask"] = recorded["in.context_mask"]
    arguments["orders"] = recorded["orders"]
    arguments["diffusion_noise"] = recorded_noise(recorded) or redrawn_noise(model, notes)
    return arguments


def recorded_noise(recorded: dict[str, Tensor]) -> list[Tensor]:
    names = [name for name in recorded if name.startswith("noise.")]
    return [recorded[name] for name in sorted(names, key=lambda name: int(name.split(".")[1]))]


def redrawn_noise(model: HARTForT2I, notes: dict[str, Any]) -> list[Tensor]:
    """Noise of a run that stored none: the published code drew it from torch's global generator, and nothing else."""
    generator = torch.Generator().manual_seed(notes["torch_seed"])
    channels, side = model.config.latent_channels, model.config.patch_nums[-1]
    draws = []
    counts = tokens_to_decode(side, notes["args"]["num_maskgit_iters"])
    for call, count in zip(notes["diffusion_calls"], counts, strict=False):  # none with final_stage=1
        both, first = call["rows"], call["rows"] // 2 if call["guided"] else call["rows"]
        assert both == 2 * notes["args"]["B"] * count
        draws.append(torch.randn(first, channels, generator=generator))
        draws += [torch.randn(both, channels, generator=generator) for _ in range(8)]
    return draws


def replay(run: str) -> Report:
    """Repeat a recorded generation and compare everything that was recorded."""
    recorded, notes = load(run)
    model = model_of(run.split(".")[0])
    report = Report(run, SMOOTH_LIMITS if notes["args"]["more_smooth"] else LIMITS)
    with recording(model) as ours:
        image = model.autoregressive_infer_cfg(**replay_arguments(model, recorded, notes))
    stride = notes["image_stride"]
    ours["image"] = image[..., ::stride, ::stride]
    condition = model.head_nm.condition(model.embed_text(doubled(recorded["in.context"])))
    for name, expected in recorded.items():
        if name.startswith(NOT_COMPARED) or name.endswith(".idx"):
            continue
        if name == "logits_raw.s0":  # ours computes one row of these; the rest follow from the same hidden states
            ours[name] = model.get_logits(ours["h_last.s0"], condition).detach()
        report.add(name, error_of(ours[name], expected, recorded.get(f"{name}.idx"), dim=2 if "cached" in name else 1))
    for name, summary in notes.get("tensors_checksums", {}).items():  # the full tensors, where a part was stored
        if name in ours and not name.startswith("idx"):
            assert list(ours[name].shape) == summary["shape"], name
            total, size = ours[name].double(), ours[name].numel()
            report.add(name, abs(float(total.sum()) - summary["sum"]) / size)
            report.add(name, abs(float(total.abs().sum()) - summary["abs_sum"]) / size)
    return report


def replay_training(run: str) -> Report:
    """Repeat a recorded training pass."""
    recorded, notes = load(run)
    model = model_of(run.split(".")[0])
    dropped_B = torch.zeros(len(recorded["in.context"]), dtype=torch.bool)
    dropped_B[notes["context_rows_zeroed_in_place"]] = True
    draws = TrainingDraws(
        kept_Bm=recorded["kept_last_stage"],
        dropped_B=dropped_B,
        idx_Bm=recorded["idx_sampled"],
        diffusion_steps=recorded["diff_t"],
        diffusion_noise=recorded["diff_noise"],
    )
    with torch.no_grad():
        logits, loss, _ = model(**training_inputs(recorded), draws=draws)
    report = Report(run, LIMITS)
    report.add("logits", error_of(logits, recorded["logits"], recorded["logits.idx"]))
    report.add("diff_loss", error_of(loss.view(1), recorded["diff_loss"]))
    return report


def replay_tokenizer() -> Report:
    """Every entry of the fixture `vae`: encoder, quantiser in all its modes, decoder, and the training pass."""
    recorded, _ = load("vae")
    report = Report("vae", LIMITS | {"image": 2 * LIMITS["image"]})  # these pictures lie in -1 to 1, not in 0 to 1
    with torch.no_grad():
        ours = tokenizer_outputs(tokenizer(), recorded)
    for name, expected in recorded.items():
        if name == "image":  # the input
            continue
        if name in PICTURE_STRIDES:
            stride = PICTURE_STRIDES[name]
            report.add(f"image.{name}", error_of(ours[name][..., ::stride, ::stride], expected))
        elif name.endswith("vq_loss"):
            report.add("diff_loss", error_of(ours[name], expected))
        else:
            kind = "f_hat" if expected.is_floating_point() else "idx"
            report.add(f"{kind}.{name}", error_of(ours[name], expected))
    return report


def tokenizer_outputs(vae: HARTAutoEncoder, recorded: dict[str, Tensor]) -> dict[str, Tensor]:
    """What the fixture `vae` names, computed from its picture."""
    img = recorded["image"].float() / 127
    f = vae.img_to_latent(img)
    idx = vae.img_to_idxBl(img)
    hybrid, rest = vae.img_to_idxBl_and_frest(img)
    maps = vae.quantize.f_to_idxBl_or_fhat(f, to_fhat=True)
    ours = {"encoder_out": vae.encoder(img), "f": f, "frest_before_last_discrete": rest}
    ours |= {f"idx.{stage}": value for stage, value in enumerate(idx)}
    ours |= {f"idx_hybrid.{stage}": value for stage, value in enumerate(hybrid)}
    ours |= {f"f_hat_discrete.{stage}": value for stage, value in enumerate(maps)}
    ours["var_input"] = vae.quantize.idxBl_to_var_input(hybrid)
    ours["fhat_to_img_of_f"] = vae.fhat_to_img(f)
    ours["rec_discrete"] = vae.img_to_reconstructed_img(img, last_one=True)
    ours["idxBl_to_img_last"] = vae.idxBl_to_img(idx, same_shape=True, last_one=True)
    for skip in (0, 1):
        f_hat, _, loss, forward_idx = vae.quantize(f, float(skip))
        ours |= {f"forward.skip{skip}.f_hat": f_hat, f"forward.skip{skip}.vq_loss": loss.view(1)}
        ours |= {f"forward.idx.{stage}": value for stage, value in enumerate(forward_idx)}
    ours["forward.skip0.out"] = vae(img, 0.0)[0]
    return ours


def training_inputs(recorded: dict[str, Tensor]) -> dict[str, Tensor]:
    """Keyword arguments of `HARTForT2I.forward` in a training fixture."""
    return {
        "context": recorded["in.context"],
        "x_in": recorded["in.x"],
        "context_position_ids": recorded["in.context_position_ids"],
        "context_mask": recorded["in.context_mask"],
        "last_layer_gt": recorded["in.last_layer_gt"],
        "last_layer_gt_discrete": recorded["in.last_layer_gt_discrete"],
    }


def doubled(context: Tensor) -> Tensor:
    return torch.cat([context, torch.zeros_like(context)])


def error_of(ours: Tensor, expected: Tensor, index: Tensor | None = None, dim: int = 1) -> float:
    """Largest absolute difference, or the share of entries that differ where both hold integers."""
    if index is not None:
        ours = ours.index_select(dim, index)
    assert ours.shape == expected.shape, (ours.shape, expected.shape)
    if not expected.is_floating_point():
        return float((ours != expected).float().mean())
    return float((ours - expected).abs().max())


class Recorder:
    """Notes what the fixtures name during one generation; the model runs its real code, watched by hooks."""

    def __init__(self, model: HARTForT2I):
        self.model, self.last, self.round = model, len(model.config.patch_nums) - 1, 0
        self.tensors: dict[str, Tensor] = {}

    def note(self, name: str, value: Tensor) -> None:
        self.tensors.setdefault(name, value.detach().clone())

    def stage_name(self, index: int) -> str:
        return f"s{index}.it{self.round}" if index == self.last else f"s{index}"

    def on_block(self, block: torch.nn.Module, arguments: tuple, out: Tensor) -> None:
        x, stage = arguments
        if block.index == 0:
            self.note(f"block_in.s{stage.index}", x)
        self.note(f"block{block.index}.s{stage.index}", out)
        if block.index == self.model.config.depth - 1:
            self.note(f"h_last.{self.stage_name(stage.index)}", out)

    def on_attention(self, _: torch.nn.Module, arguments: tuple, out: Tensor) -> None:
        x, stage = arguments
        self.note(f"block0.attn_in.s{stage.index}", x)
        self.note(f"block0.attn_out.s{stage.index}", out)
        end = stage.kv.lengths[0]
        self.note(f"block0.cached_k.s{stage.index}", stage.kv.keys[0, :, :, :end])
        self.note(f"block0.cached_v.s{stage.index}", stage.kv.values[0, :, :, :end])

    def on_draw(self, run: Any, index: int, x: Tensor, _: Any, out: tuple[Tensor, Tensor]) -> None:
        idx, codes = out
        name = self.stage_name(index)
        self.note(f"idx.{name}", idx)
        if index > 0:  # at stage 0 ours computes one row only
            self.note(f"logits_raw.{name}", run.model.get_logits(x, run.head_condition))
        if index < self.last:
            side = round(codes.shape[1] ** 0.5)
            self.note(f"h.s{index}", codes.transpose(1, 2).unflatten(2, (side, side)))
        elif run.inputs.final_stage != 0:
            self.round += 1

    def on_map(self, run: Any, index: int, _: Tensor, out: Tensor) -> None:
        self.note(f"f_hat.s{index}", run.f_hat)
        self.note(f"next_map.s{index}", out)

    def on_diffusion(self, z: Tensor, out: Tensor, **_: Any) -> None:
        self.note(f"diff.z.it{self.round}", z.unflatten(0, (2, -1)))
        self.note(f"diff.out.it{self.round}", out)
        self.round += 1

    def on_end(self, run: Any, _: Tensor, out: None) -> None:
        self.note("f_hat.final", run.f_hat)


@contextmanager
def recording(model: HARTForT2I) -> Iterator[dict[str, Tensor]]:
    """The tensors of one generation, by the names that the fixtures use."""
    recorder, run_class = Recorder(model), generation_module.Generation
    with ExitStack() as stack:
        for block in model.blocks:
            stack.callback(block.register_forward_hook(recorder.on_block).remove)
        stack.callback(model.blocks[0].attn.register_forward_hook(recorder.on_attention).remove)
        stack.enter_context(watched(run_class, "draw_codes", recorder.on_draw))
        stack.enter_context(watched(run_class, "add_to_map", recorder.on_map))
        stack.enter_context(watched(run_class, "paint_last_stage", recorder.on_end))
        stack.enter_context(watched(model.diffloss, "sample", recorder.on_diffusion))
        yield recorder.tensors


@contextmanager
def watched(owner: Any, name: str, observe: Callable) -> Iterator[None]:
    """Let a function of `owner` run as it is and show its arguments and result to `observe`."""
    original, own = getattr(owner, name), name in vars(owner)

    def run(*args: Any, **kwargs: Any) -> Any:
        result = original(*args, **kwargs)
        observe(*args, out=result, **kwargs)
        return result

    setattr(owner, name, run)
    try:
        yield
    finally:
        setattr(owner, name, original) if own else delattr(owner, name)


def all_reports() -> list[Report]:
    return [replay(run) for run in RUNS] + [replay_training(run) for run in TRAINING_RUNS] + [replay_tokenizer()]


def main() -> None:
    kinds = list(LIMITS)
    rows = [["fixture", *kinds]]
    for report in all_reports():
        cells = [f"{report.worst[kind]:.1e}" if kind in report.worst else "" for kind in kinds]
        rows.append([report.run + (" LIMIT EXCEEDED" if report.too_large() else ""), *cells])
    rows.append(["limit", *(f"{LIMITS[kind]:.0e}" for kind in kinds)])
    rows.append(["limit with more_smooth", *(f"{SMOOTH_LIMITS[kind]:.0e}" for kind in kinds)])
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


if __name__ == "__main__":
    main()
