"""One painter for calibration, timing and planning."""

import torch

from hart.tuning.painter import Painter, timed_parts
from hart.tuning.workload import Workload


def test_a_batch_is_painted_with_the_seeds_of_its_images(tiny):
    painter = Painter(tiny, Workload(tiny, 3), first_seed=5, cfg=2.0)
    painted = painter.paint(1, 2)
    expected = tiny.autoregressive_infer_cfg(2, None, [6, 7], cfg=2.0, decode=False)
    assert torch.equal(painted.f_hat, expected)
    assert painted.stages == [] and painted.seconds > 0


def test_stages_are_timed_where_asked_for(tiny):
    painter = Painter(tiny, Workload(tiny, 1), first_seed=0, cfg=1.5)
    painted = painter.paint(0, by_stage=True)
    assert len(painted.stages) == len(tiny.config.patch_nums) and sum(painted.stages) == painted.seconds
    known = painter.paint(0, arguments={"label_B": None})
    assert known.text == 0.0 and torch.equal(known.f_hat, painted.f_hat)


def test_parts_inside_the_stages_are_timed_apart(tiny):
    painter = Painter(tiny, Workload(tiny, 1), first_seed=0, cfg=1.5)
    with timed_parts(tiny) as parts:
        assert parts() == {"diffusion_head": 0, "transformer": 0}
        painted = painter.paint(0)
        assert 0 < sum(parts().values()) < painted.seconds
    assert "run_blocks" not in vars(tiny)
