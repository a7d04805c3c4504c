"""Write the trained transformer and text model into the package: `python -m training.export_transformer`."""

import argparse

import torch

from training.common import EMBEDDED, RUNS, load_checkpoint
from training.text import build_tokenizer, save_text
from training.train_transformer import Settings, TransformerTraining


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", default="transformer")
    run = parser.parse_args().run
    state = load_checkpoint(RUNS / run / "last.pt")
    training = TransformerTraining(Settings(**state["settings"]), run)
    training.all.load_state_dict(state["weights"])
    training.model.config.dtype = torch.float16
    training.model.half().save_pretrained(EMBEDDED / "llm")
    save_text(EMBEDDED / "text_encoder", build_tokenizer(), training.text.half())
    print(f"step {state['step']} written to {EMBEDDED}")


if __name__ == "__main__":
    main()
