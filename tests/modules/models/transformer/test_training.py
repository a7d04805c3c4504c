"""The training pass: gradients, checkpointing, precision, and what it draws at random."""

import copy
import random

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from hart.modules.models.transformer import HARTForT2I, HARTForT2IConfig
from hart.modules.models.transformer.training import TrainingDraws, TrainingInputs, draw_kept, drop_prompts
from tests.golden import load
from tests.modules.models.transformer.conftest import SIDES, TRANSFORMER, build, text
from tests.parity import training_inputs

FLAVOURS = {
    "released": {},
    "l2_norm": {"attn_l2_norm": True},
    "adaln_avg": {"disable_aln": False, "sep_aln_pooling_mode": "avg", "use_timestep_embed": False},
    "adaln_max": {"disable_aln": False, "use_context_norm": False},
    "shared": {"shared_aln": True, "mlp_type": "gpt2"},
    "gpt2": {"disable_aln": False, "attn_type": "gpt2", "mlp_type": "gpt2", "use_context_norm": False},
    "gpt2_context_norm": {"attn_type": "gpt2", "mlp_type": "gpt2", "use_context_norm": True},
}


def inputs(batch: int = 2) -> dict[str, Tensor]:
    words, generator = text(batch), torch.Generator().manual_seed(1)
    length, last = sum(side * side for side in SIDES), SIDES[-1] ** 2
    return {
        "context": words["label_B"],
        "x_in": torch.randn(batch, length - 1, 4, generator=generator),
        "context_position_ids": words["context_position_ids"],
        "context_mask": words["context_mask"],
        "last_layer_gt": 0.3 * torch.randn(batch, last, 4, generator=generator),
        "last_layer_gt_discrete": torch.randint(48, (batch, last), generator=generator),
    }


def seeded(seed: int = 0) -> TrainingDraws:
    return TrainingDraws(generator=torch.Generator().manual_seed(seed))


def loss_of(model: HARTForT2I, draws: TrainingDraws | None = None, **changed) -> Tensor:
    """Cross-entropy of all tokens plus the diffusion loss, as a training script adds them up."""
    given = inputs() | changed
    logits, diffusion, (rows, kept) = model(**given, draws=draws or seeded())
    early = torch.zeros(len(logits), logits.shape[1] - kept.shape[1], dtype=torch.long)
    targets = torch.cat([early, given["last_layer_gt_discrete"][rows, kept]], dim=1)
    return F.cross_entropy(logits.flatten(0, 1), targets.flatten()) + diffusion


# -- gradients -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_gradients_reach_every_parameter(flavour):
    """No exceptions: norms, biases, level embeddings, the residual head, all of them learn."""
    model = build(**FLAVOURS[flavour]).train()
    loss_of(model).backward()
    missing = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert missing == []
    assert all(torch.isfinite(p.grad).all() for p in model.parameters())
    assert all(p.grad is None for p in model.vae.parameters())


def test_gradients_of_a_norm_match_finite_differences(model):
    """The published norms cut gradients off."""
    weight = model.blocks[0].ln_wo_grad.weight
    draws = TrainingDraws(
        kept_Bm=torch.arange(32).expand(2, -1),
        dropped_B=torch.zeros(2, dtype=torch.bool),
        idx_Bm=torch.zeros(2, 32, dtype=torch.long),
        diffusion_steps=torch.full((256,), 500),
        diffusion_noise=torch.zeros(256, 4),
    )

    def sum_of_squares() -> Tensor:
        return model(**inputs(), draws=draws)[0].double().square().sum()

    sum_of_squares().backward()
    for entry in range(3):
        with torch.no_grad():
            weight[entry] += 0.01
            above = sum_of_squares()
            weight[entry] -= 0.02
            below = sum_of_squares()
            weight[entry] += 0.01
        assert float(weight.grad[entry]) == pytest.approx(float((above - below) / 0.02), rel=2e-3)


def switch(model: HARTForT2I, verb: str) -> None:
    """The switch of transformers, which got another name within the 5 line."""
    new, old = f"activation_checkpointing_{verb}", f"gradient_checkpointing_{verb}"
    getattr(model, new if hasattr(model, new) else old)()


@pytest.mark.parametrize("settings", [{}, {"drop_rate": 0.1, "attn_drop_rate": 0.1, "drop_path_rate": 0.5}])
def test_gradient_checkpointing_changes_neither_loss_nor_gradients(settings):
    plain = build(**settings).train()
    saving = copy.deepcopy(plain)
    switch(saving, "enable")
    assert saving.gradient_checkpointing and not plain.gradient_checkpointing
    calls = []
    saving.blocks[1].register_forward_pre_hook(lambda *_: calls.append(1))
    losses = []
    for model in (plain, saving):
        torch.manual_seed(0)
        losses.append(loss_of(model))
        losses[-1].backward()
    assert len(calls) == 2  # once forward, once again on the way back
    torch.testing.assert_close(losses[0], losses[1], rtol=0, atol=1e-5)
    for (name, ours), (_, expected) in zip(saving.named_parameters(), plain.named_parameters(), strict=True):
        torch.testing.assert_close(ours.grad, expected.grad, rtol=1e-5, atol=1e-5, msg=name)
    switch(saving, "disable")
    assert not saving.gradient_checkpointing


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_bfloat16_autocast_is_finite(flavour):
    model = build(**FLAVOURS[flavour]).train()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = loss_of(model)
    loss.backward()
    assert torch.isfinite(loss)
    assert all(torch.isfinite(p.grad).all() for p in model.parameters())


def test_a_step_of_training_lowers_the_loss(model):
    model.train()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    first = loss_of(model)
    first.backward()
    optimizer.step()
    assert loss_of(model) < first


def test_starting_weights_give_a_uniform_guess():
    torch.manual_seed(0)
    model = HARTForT2I(HARTForT2IConfig(**TRANSFORMER), vae=build().vae)
    logits, diffusion, _ = model(**inputs(), draws=seeded())
    assert float(logits.detach().softmax(-1).max()) < 3 / 48
    assert torch.isfinite(diffusion)


# -- what is drawn ---------------------------------------------------------------------------------------------------


def test_the_same_generator_gives_the_same_loss(model):
    assert loss_of(model, seeded(3)).item() == loss_of(model, seeded(3)).item()
    assert loss_of(model, seeded(3)).item() != loss_of(model, seeded(4)).item()


def test_a_seeded_pass_leaves_the_global_generators_alone(model):
    states = torch.get_rng_state(), random.getstate(), np.random.get_state()
    loss_of(model)
    assert torch.equal(torch.get_rng_state(), states[0])
    assert random.getstate() == states[1]
    assert all(np.array_equal(a, b) for a, b in zip(np.random.get_state(), states[2], strict=True))


def test_the_callers_tensors_are_not_changed(model):
    given = inputs()
    before = {name: value.clone() for name, value in given.items()}
    draws = TrainingDraws(dropped_B=torch.tensor([True, False]))
    model(**given, draws=draws)
    assert all(torch.equal(value, before[name]) for name, value in given.items())


@pytest.mark.parametrize("rate", [0.0, 0.1, 0.5, 1.0])
def test_prompts_are_dropped_at_the_configured_rate(model, rate):
    """The published code compared a normal draw with the rate: 0.1 dropped 54 % of the prompts."""
    model.config.cond_drop_rate = rate
    context = torch.ones(4000, 1, 1)
    dropped = drop_prompts(model, context, seeded())
    assert float((dropped == 0).float().mean()) == pytest.approx(rate, abs=0.02)
    assert bool((context == 1).all())


def test_a_dropped_prompt_is_all_zeros(model):
    context = torch.randn(3, 5, 12)
    dropped = drop_prompts(model, context, TrainingDraws(dropped_B=torch.tensor([False, True, False])))
    assert not dropped[1].any()
    assert torch.equal(dropped[[0, 2]], context[[0, 2]])


def test_how_many_last_stage_tokens_are_kept(model):
    """Between 32 and half of them, the same number for the batch, each row its own places."""
    recorded, _ = load("llm.train_forward")
    given = TrainingInputs(*training_inputs(recorded).values())
    generator, counts = torch.Generator().manual_seed(0), []
    for _ in range(300):
        kept = draw_kept(model, given, generator)
        assert (kept.diff(dim=1) > 0).all() and kept.min() >= 0 and kept.max() < 256
        assert not torch.equal(kept[0], kept[1])
        counts.append(kept.shape[1])
    assert min(counts) == 32 and 100 < max(counts) <= 128
    # The rate is a normal around 1 with deviation 0.25, cut to [0.5, 1]: its mean is 0.819, rounded by the floor of 32.
    assert np.mean(counts) == pytest.approx(256 * (1 - 0.819), abs=8)


def test_every_place_is_kept_equally_often(model):
    recorded, _ = load("llm.train_forward")
    given = TrainingInputs(*training_inputs(recorded).values())
    generator = torch.Generator().manual_seed(0)
    hits = torch.zeros(256)
    for _ in range(400):
        hits += torch.bincount(draw_kept(model, given, generator).flatten(), minlength=256)
    assert hits.max() / hits.min() < 2


# -- what a token may see --------------------------------------------------------------------------------------------


def test_a_token_sees_its_own_stage_and_earlier_ones_only(model):
    """Stages start at token 4 (side 1, the last text token); stage 2 covers sides 4: inputs 4 to 19 of x_in."""
    draws = TrainingDraws(
        kept_Bm=torch.arange(32).expand(2, -1),
        dropped_B=torch.zeros(2, dtype=torch.bool),
        idx_Bm=torch.zeros(2, 32, dtype=torch.long),
    )
    with torch.no_grad():
        given = inputs()
        logits, _, _ = model(**given, draws=draws)
        given["x_in"] = given["x_in"].clone()
        given["x_in"][:, 10] += 1.0
        changed, _, _ = model(**given, draws=draws)
    differs = (logits != changed).any(dim=-1).any(dim=0)
    assert not differs[: 1 + 4].any()  # sides 1 and 2
    assert differs[1 + 4 : 1 + 4 + 16].all()  # its own stage, also the tokens before it
    assert differs[1 + 4 + 16 :].any()


# -- arguments that do not fit ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", list(inputs()))
def test_a_tensor_of_another_shape_is_named(model, name):
    given = inputs()
    given[name] = given[name][:, :-1]
    with pytest.raises(
        ValueError, match=rf"^{name} is torch\..* \[2, .*; allowed is .* tensor of shape \[(B|2), "
    ) as caught:
        model(**given)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", list(inputs()))
@pytest.mark.parametrize("value", [None, [[1.0]], torch.tensor(1.0), torch.ones(2, 5, 12, dtype=torch.complex64)])
def test_what_is_no_such_tensor_is_named(model, name, value):
    with pytest.raises(ValueError, match=rf"^{name} is .*; allowed is .* tensor of shape \[(B|2), "):
        model(**inputs() | {name: value})


@pytest.mark.parametrize("name", list(inputs()))
def test_a_tensor_of_another_kind_is_named(model, name):
    given = inputs()
    given[name] = given[name].long() if given[name].is_floating_point() else given[name].float()
    with pytest.raises(
        ValueError, match=rf"^{name} is torch\..*; allowed is an? (integer or bool|floating-point) tensor"
    ):
        model(**given)


def test_the_codes_of_the_last_stage_are_for_the_callers_loss(model):
    given = inputs()
    with torch.no_grad():
        first, second = (
            model(**given | {"last_layer_gt_discrete": codes}, draws=seeded())
            for codes in (given["last_layer_gt_discrete"], torch.zeros_like(given["last_layer_gt_discrete"]))
        )
    assert torch.equal(first[0], second[0]) and torch.equal(first[1], second[1])
