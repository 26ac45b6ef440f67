"""Options as the toolkits' users write them, in the form that the code reads."""

from collections.abc import Sequence


def as_pair(name: str, value: int | Sequence[int]) -> tuple[int, int]:
    """One positive integer or two as a pair.

    Raises:
        ValueError: They are not.
    """
    pair = tuple(value) if isinstance(value, Sequence) else (value, value)
    if len(pair) != 2 or not all(isinstance(side, int) and side > 0 for side in pair):
        raise ValueError(f'{name} must be a positive integer or a pair of them, got {value!r}')
    return pair


def norm_eps(norm_cfg: dict | None) -> float:
    """The epsilon of a config of layer norms, as in ``dict(type='LN', eps=1e-6)``, which is the default.

    Raises:
        ValueError: It is the config of another kind of norm, or has further options.
    """
    norm_cfg = dict(type='LN') if norm_cfg is None else norm_cfg
    if not isinstance(norm_cfg, dict) or norm_cfg.get('type') != 'LN' or not norm_cfg.keys() <= {'type', 'eps'}:
        raise ValueError(f"norm_cfg must be dict(type='LN', eps=...), got {norm_cfg!r}")
    return norm_cfg.get('eps', 1e-6)


def resolve_indices(out_indices: int | Sequence[int], num_layers: int) -> tuple[int, ...]:
    """Block numbers counted from 0; negative ones count from the end.

    Raises:
        ValueError: There is none, or no such block.
    """
    indices = tuple(out_indices) if isinstance(out_indices, Sequence) else (out_indices,)
    if not indices or not all(isinstance(index, int) and -num_layers <= index < num_layers for index in indices):
        raise ValueError(f'out_indices must name some of the {num_layers} blocks, got {out_indices!r}')
    return tuple(index % num_layers for index in indices)
