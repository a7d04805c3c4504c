"""Evaluation by program of the pictures that the embedded model paints; no pretrained network is needed.

Example:
    >>> from hart.evaluation import evaluate_pictures, parse_caption
    >>> scene = parse_caption("a small 3d fox on a yellow background at the top right")
    >>> evaluate_pictures([image], [scene])["overall"]["share"]  # image: [H, H, 3]
"""

from hart.evaluation.artwork import load_sprites, read_sprites, true_picture, true_pictures
from hart.evaluation.checker import (
    ATTRIBUTES,
    PictureCheck,
    check_picture,
    check_pictures,
    evaluate_pictures,
    tabulate,
)
from hart.evaluation.fidelity import MEASURES, Fidelity, compare_settings, fidelity
from hart.evaluation.model import SPLITS, draw_scenes, evaluate_model, num_scenes
from hart.evaluation.scenes import (
    CANVAS,
    COLOURS,
    LAYOUTS,
    POSITIONS,
    SIDES,
    STYLES,
    Scene,
    SceneObject,
    Sprites,
    all_scenes,
    compose,
    compose_batch,
    held_out_colour,
    is_held_out,
    load_objects,
    parse_caption,
)
from hart.evaluation.statistics import Table, count_table
from hart.evaluation.templates import Templates, load_templates
from hart.utils.intervals import wilson_interval

__all__ = [
    "ATTRIBUTES",
    "CANVAS",
    "COLOURS",
    "LAYOUTS",
    "MEASURES",
    "POSITIONS",
    "SIDES",
    "SPLITS",
    "STYLES",
    "Fidelity",
    "PictureCheck",
    "Scene",
    "SceneObject",
    "Sprites",
    "Table",
    "Templates",
    "all_scenes",
    "check_picture",
    "check_pictures",
    "compare_settings",
    "compose",
    "compose_batch",
    "count_table",
    "draw_scenes",
    "evaluate_model",
    "evaluate_pictures",
    "fidelity",
    "held_out_colour",
    "is_held_out",
    "load_objects",
    "load_sprites",
    "load_templates",
    "num_scenes",
    "parse_caption",
    "read_sprites",
    "tabulate",
    "true_picture",
    "true_pictures",
    "wilson_interval",
]
