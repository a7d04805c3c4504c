"""The key and value buffer."""

import torch

from hart.modules.networks.kv_cache import KVCache


def test_tokens_are_appended_per_layer_without_copying():
    cache = KVCache(depth=2, rows=1, num_heads=1, head_dim=2, capacity=5, like=torch.zeros(1, dtype=torch.float16))
    first, second = torch.ones(1, 1, 3, 2).half(), torch.full((1, 1, 2, 2), 2.0).half()
    cache.append(0, first, -first)
    keys, values = cache.append(0, second, -second)
    assert keys[0, 0, :, 0].tolist() == [1, 1, 1, 2, 2]
    assert values[0, 0, :, 0].tolist() == [-1, -1, -1, -2, -2]
    assert keys.dtype == torch.float16
    assert keys.data_ptr() == cache.keys[0].data_ptr()
    assert cache.lengths == [5, 0]
