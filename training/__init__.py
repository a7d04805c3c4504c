"""Training of the embedded model: data, tokenizer and transformer; not part of the installed package."""
