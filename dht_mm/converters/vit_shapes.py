"""Shapes that the weights of a converted ViT must have to be one model."""

from collections.abc import Mapping

from torch import Tensor


def check_shapes(weights: Mapping[str, Tensor], source: Mapping[str, tuple[str, ...]]) -> None:
    """Raise where converted weights do not fit together.

    Args:
        weights: By the backbone's own names, complete.
        source: Names in the source, with those of the result under any prefix; for the error.

    Raises:
        ValueError: A weight has another shape than the embedding's dimensions and the first block's MLP ask for.
    """
    dims, hidden = len(weights['embedding.patch_embed.bias']), weights['encoder.blocks.0.mlp.fc1.bias'].numel()
    q_norm = weights.get('encoder.blocks.0.attn.q_norm.weight')
    head_dims = 0 if q_norm is None else q_norm.numel()
    gated = weights['encoder.blocks.0.mlp.fc2.weight'].shape == (dims, hidden // 2)
    shapes = {
        'attn.qkv.weight': (3 * dims, dims), 'attn.qkv.bias': (3 * dims,), 'attn.proj.weight': (dims, dims),
        'mlp.fc1.weight': (hidden, dims), 'mlp.fc1.bias': (hidden,), 'mlp.fc2.weight': (dims, hidden // 2 if gated else hidden)}
    shapes |= {f'attn.{norm}.{leaf}': (head_dims,) for norm in ('q_norm', 'k_norm') for leaf in ('weight', 'bias')}
    for key, value in weights.items():
        if key.startswith('encoder.blocks.'):
            expected = shapes.get(key.split('.', 3)[3], (dims,))
        elif key.startswith(('encoder.norm.', 'avg_norm.', 'embedding.pre_norm.')):
            expected = (dims,)
        else:
            continue
        if value.shape != expected:
            old = next((old for old, new in source.items() if any(name.endswith(key) for name in new)), key)
            raise ValueError(f'{old} must be of shape {expected} in a ViT of {dims} dimensions, got {tuple(value.shape)}')
