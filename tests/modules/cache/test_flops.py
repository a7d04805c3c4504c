"""Counting operations, by hand."""

from types import SimpleNamespace

from torch.utils.flop_counter import FlopCounterMode

from hart.benchmark.run.batches import full_flops
from hart.benchmark.run.operations import ATTENTION_ON_CPU
from hart.modules.cache.flops import FlopCounter
from hart.modules.enhanced_hart import EnhancedHARTForT2I
from tests.modules.cache.toys import ToyBlock
from tests.modules.models.transformer.conftest import build

WEIGHTS = 2 * 2  # of either part of a toy block, which is two wide


def stage(seen: int) -> SimpleNamespace:
    return SimpleNamespace(kv=SimpleNamespace(lengths=[seen]))


def counter() -> FlopCounter:
    return FlopCounter([ToyBlock()], (1, 2))


def run(counted: FlopCounter, index: int, rows: int, tokens: int, seen: int) -> None:
    counted.stage(index, (rows, tokens, 2))
    counted.branch("attn", 0, index, tokens, stage(seen))
    counted.branch("mlp", 0, index, tokens, stage(seen))


def branches(tokens: int, seen: int) -> int:
    """Products with the weights of both parts, and attention."""
    return 2 * (2 * WEIGHTS * tokens) + 4 * tokens * seen * 2


def test_a_whole_run_saves_nothing():
    counted = counter()
    run(counted, 0, 2, 3, 3)
    run(counted, 1, 2, 4, 7)
    assert counted.totals() == (2 * (branches(3, 3) + branches(4, 7)), 0)


def test_tokens_branches_and_rows_that_are_left_out_are_saved():
    counted = counter()
    run(counted, 0, 2, 3, 3)
    counted.stage(1, (1, 4, 2))
    counted.branch("mlp", 0, 1, 1, stage(7))
    counted.keys_values(1, 4)
    done = 2 * branches(3, 3) + 2 * WEIGHTS * 1 + 2 * 2 * 2 * 2 * 4
    whole = 2 * (branches(3, 3) + branches(4, 7))
    assert counted.totals() == (done, whole - done)
    assert counted.by_stage() == {1: 2 * branches(3, 3), 4: done - 2 * branches(3, 3)}


def test_rounds_count_as_computed_in_full():
    counted = counter()
    run(counted, 0, 2, 3, 3)
    run(counted, 1, 2, 1, 4)
    run(counted, 1, 2, 3, 7)
    assert counted.totals() == (2 * (branches(3, 3) + branches(1, 4) + branches(3, 7)), 0)


def test_the_count_is_that_of_the_operators():
    """A whole run's blocks against what torch counts as it runs them."""
    model = EnhancedHARTForT2I.from_hart(build())
    arguments = {"B": 1, "label_B": None, "g_seed": 3}
    with FlopCounterMode(display=False, custom_mapping=ATTENTION_ON_CPU) as counter:
        model.autoregressive_infer_cfg(**arguments)
    assert sum(full_flops(model, 1)) == sum(counter.get_flop_counts()["Block"].values())
