"""The names under which other projects keep the weights of a plain ViT."""

from collections.abc import Iterable
from typing import NamedTuple


class Layout(NamedTuple):
    """Names of one project.

    Attributes:
        blocks: What stands before a block's number.
        patch: The patch convolution.
        registers: Register tokens.
        modules: Modules with a weight and a bias, and ours.
        block: Modules of a block, and ours within a block.
        scales: Factors of LayerScale in a block, and ours.
        head: Linear classifiers.
        unused: Keys that are for training only, with the reason.
        antialias: Whether the project resamples positions with antialiasing.
        registers_antialias: Whether it does so for models with register tokens.
    """

    blocks: str
    patch: str
    registers: str
    modules: dict[str, str]
    block: dict[str, str]
    scales: dict[str, str]
    head: tuple[str, ...] = ('head',)
    unused: dict[str, str] = {}
    antialias: bool = False
    registers_antialias: bool = False


_BLOCK = {name: name for name in ('norm1', 'attn.qkv', 'attn.q_norm', 'attn.k_norm', 'attn.proj', 'norm2', 'mlp.fc1', 'mlp.fc2')}
_TIMM = Layout(
    blocks='blocks.', patch='patch_embed.proj', registers='reg_token',
    modules={'norm_pre': 'embedding.pre_norm', 'norm': 'encoder.norm', 'fc_norm': 'avg_norm'},
    block=_BLOCK, scales={'ls1.gamma': 'ls1.gamma', 'ls2.gamma': 'ls2.gamma'}, antialias=True)
_MMPRETRAIN_BLOCK = {
    'ln1': 'norm1', 'attn.qkv': 'attn.qkv', 'attn.proj': 'attn.proj', 'ln2': 'norm2',
    'ffn.layers.0.0': 'mlp.fc1', 'ffn.layers.1': 'mlp.fc2', 'ffn.w12': 'mlp.fc1', 'ffn.w3': 'mlp.fc2'}

LAYOUTS = {
    'timm': _TIMM,
    'mmpretrain': Layout(
        blocks='layers.', patch='patch_embed.projection', registers='register_tokens',
        modules={'pre_norm': 'embedding.pre_norm', 'ln1': 'encoder.norm', 'ln2': 'avg_norm'},
        block=_MMPRETRAIN_BLOCK, scales={'attn.gamma1.weight': 'ls1.gamma', 'ffn.gamma2.weight': 'ls2.gamma'},
        head=('head.layers.head', 'head.fc')),
    'dinov2': _TIMM._replace(
        registers='register_tokens', modules={'norm': 'encoder.norm'}, block=_BLOCK | {'mlp.w12': 'mlp.fc1', 'mlp.w3': 'mlp.fc2'},
        head=(), unused={'mask_token': 'stands for hidden patches in pre-training'}, antialias=False,
        registers_antialias=True),
    'deit3': _TIMM._replace(scales={'gamma_1': 'ls1.gamma', 'gamma_2': 'ls2.gamma'}, antialias=False),
}


def detect_layout(keys: Iterable[str]) -> str:
    """Name of the layout that some keys have.

    DINOv2's and DeiT III's differ from timm's in few keys. A file with none of these is taken for timm's, which names the same
    weights alike and differs at most in how positions are resampled.

    Raises:
        ValueError: They have none of these layouts.
    """
    names = {key.removeprefix('backbone.') for key in keys}
    if 'layers.0.ln1.weight' in names:
        return 'mmpretrain'
    if 'blocks.0.norm1.weight' not in names:
        raise ValueError(f'state dict must have the layout of one of {[*LAYOUTS]}, but has the keys {sorted(names)[:5]}, ...')
    if 'blocks.0.gamma_1' in names:
        return 'deit3'
    return 'dinov2' if names & {'mask_token', 'register_tokens', 'blocks.0.mlp.w12.weight'} else 'timm'
