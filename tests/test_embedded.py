"""Where the model inside the package lies."""

from hart.embedded import embedded_model_path, is_embedded


def test_root_and_llm_folder_are_the_embedded_model(tmp_path):
    assert is_embedded(embedded_model_path()) and is_embedded(str(embedded_model_path().parent))
    assert not is_embedded(tmp_path) and not is_embedded(embedded_model_path() / "deeper")
