"""The base of both models' configurations."""

from typing import Any

from transformers import PretrainedConfig

from hart.utils.files import read_json


class EditableConfig(PretrainedConfig):
    """A configuration whose `config.json` a person may have edited: a byte order mark does no harm."""

    @classmethod
    def _dict_from_json_file(cls, json_file: Any) -> dict[str, Any]:
        """How transformers reads the file."""
        content: dict[str, Any] = read_json(json_file)
        return content
