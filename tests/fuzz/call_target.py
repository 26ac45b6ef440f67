"""Bad arguments to public functions: each call works or is refused by a message about the argument."""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from draws import DTYPES, LAYOUTS, Draws, choice, draw_images, generator, with_layout
from partitions import canonical
from refusals import refused
from torch import Tensor

from dht_mm import metrics, ops, vector, visualization
from dht_mm.losses import region_targets
from dht_mm.structures import Partition
from dht_mm.structures.label_map import pixel_classes

Call = tuple[Callable, dict[str, Any]]
JUNK = (None, -1, 0, 1, 2**31, 1.5, True, float('nan'), float('inf'), 'x', b'x', (), [1, 2, 3], {}, object())


def arguments(draws: Draws) -> dict[str, Any]:
    """Valid arguments that fit together, by the names that functions have for them."""
    image = draw_images(draws, channels=draws.integer(1, 4), most_pixels=50)[:4].float().clamp(-100, 100)
    numbers = generator(draws)
    batch, channels, height, width = image.shape
    values = numbers.integers(0, draws.integer(1, 9), (batch, height, width))
    labels = torch.stack([canonical(torch.from_numpy(value)) for value in values]).int()
    partition = Partition.from_labels(labels, image)
    total, dims = partition.total_regions, draws.integer(1, 9)
    rows = torch.from_numpy(numbers.standard_normal((total, dims))).float()
    parent = torch.repeat_interleave(torch.arange(batch), partition.num_regions)  # each image becomes one region
    return dict(
        image=image, images=image, features=image, labels=labels, offsets=partition.offsets, size=partition.size, bbox=partition.bbox,
        shift=rows.new_zeros(total, channels), tokens=rows, mean=rows, rows=rows, color=rows, partition=partition, parent=parent.int(),
        merged_offsets=torch.arange(batch + 1, dtype=torch.int32), united_size=torch.full((batch,), height * width, dtype=torch.int32),
        num_pixels=height * width, total_regions=total, gradient=image[:, :1].expand(-1, 2, -1, -1).contiguous(),
        batch=batch, long_size=torch.cat([partition.size, partition.size.new_zeros(labels.numel())]), used=partition.offsets[-1],
        weight=rows.new_ones(3, dims), bias=rows.new_zeros(3), slope=rows.new_zeros(channels), self_bias=rows.new_zeros(()),
        map=labels[0].numpy(), truth=torch.from_numpy(values[0]), classes=torch.from_numpy(values).long(),
        picture=numbers.integers(0, 256, (height, width, 3), dtype=np.uint8))


OPS = dict(
    build_hierarchy=dict(features='features', slope='slope', bias='self_bias', kernel='=gaussian', compactness='=0.1', iota='=5.0',
                         min_regions='=6', criterion='=aicc'),
    build_fixed_hierarchy=dict(features='features', slope='slope', bias='self_bias', capacity='=500', min_regions='=6'),
    region_mean=dict(features='features', labels='labels', offsets='offsets', size='size'),
    region_pixels=dict(image='image', labels='labels', offsets='offsets', bbox='bbox', patch_size='=4', shift='shift'),
    position_histogram=dict(labels='labels', offsets='offsets', total_regions='total_regions', grid='=(3, 2)'),
    gradient_histogram=dict(gradient='gradient', labels='labels', offsets='offsets', total_regions='total_regions', bins='=4'),
    pool_cells=dict(tokens='tokens', labels='labels', offsets='offsets', stride='=4'),
    cut_regions=dict(labels='labels', offsets='offsets', size='long_size', grid='=(3, 2)'),
    hard_merge=dict(image='image', labels='labels', offsets='offsets', size='size', target='=3'),
    soft_merge=dict(labels='labels', offsets='offsets', size='size', bbox='bbox', color='color', target='=3', kernel='=gaussian',
                    seed='=None'),
    unite_regions=dict(labels='labels', offsets='offsets', size='size', bbox='bbox', parent='parent', merged_offsets='merged_offsets',
                       rows='batch'),
    united_mean=dict(mean='mean', offsets='offsets', size='size', parent='parent', united_size='united_size', num_pixels='num_pixels'),
    exact_linear=dict(rows='rows', weight='weight', bias='bias', used='used'),
    channel_moments=dict(values='image'),
    patch_moments=dict(image='image', stride='=1'),
)
OTHERS: dict[Callable, dict[str, str]] = {
    Partition.from_labels: dict(labels='labels', image='image'),
    Partition.pool: dict(self='partition', features='features'),
    Partition.scatter: dict(self='partition', tokens='tokens'),
    pixel_classes: dict(labels='classes', num_classes='=9', ignore_index='=255'),
    region_targets: dict(labels='classes', partition='partition', num_classes='=9', ignore_index='=255'),
    metrics.boundary_recall: dict(labels='map', truths='truth'),
    metrics.boundary_precision: dict(labels='map', truths='truth'),
    metrics.undersegmentation_error: dict(labels='map', truths='truth'),
    metrics.achievable_accuracy: dict(labels='map', truths='truth'),
    metrics.explained_variation: dict(image='picture', labels='map'),
    metrics.compactness: dict(labels='map'),
    metrics.num_regions: dict(labels='map'),
    vector.vectorize: dict(image='picture', regions='map', tolerance='=0.5', steps='=4', least_gain='=inf', background='=mean',
                           levels='=None'),
    vector.merge_regions: dict(image='picture', labels='map', count='=2'),
    vector.vectorize_published: dict(image='picture', regions='map'),
    visualization.draw_borders: dict(image='picture', regions='map'),
    visualization.paint_mean_color: dict(image='picture', regions='map'),
}
CONSTANTS = {'=gaussian': 'gaussian', '=0.1': 0.1, '=5.0': 5.0, '=6': 6, '=aicc': 'aicc', '=1': 1, '=2': 2, '=500': 500, '=4': 4, '=3': 3,
             '=9': 9, '=255': 255, '=(3, 2)': (3, 2), '=None': None, '=0.5': 0.5, '=inf': float('inf'), '=mean': 'mean'}
CALLS: list[tuple[Callable, dict[str, str]]] = [*((getattr(ops, name), names) for name, names in OPS.items()), *OTHERS.items()]


def draw_call(draws: Draws) -> Call:
    """A function and valid arguments of it."""
    function, names = choice(draws, CALLS)
    valid = arguments(draws)
    return function, {name: valid[source] if source in valid else CONSTANTS[source] for name, source in names.items()}


def call_target(draws: Draws) -> int:
    """One case: a valid call, of which up to two arguments were then spoiled."""
    function, keywords = draw_call(draws)
    spoiled = [choice(draws, [name for name in keywords if name != 'self']) for _ in range(draws.integer(0, 2))]
    for name in spoiled:
        keywords[name] = spoil(draws, keywords[name])
    try:
        message = refused(partial(function, **keywords))
    except AssertionError as error:
        shown = {name: summary(keywords[name]) for name in spoiled}
        raise AssertionError(f'{function.__qualname__} with {shown}: {error}') from error
    assert spoiled or message is None, f'{function.__qualname__} refuses a valid call: {message}'
    return 1


def spoil(draws: Draws, value: Any) -> Any:
    """Another argument: of another type, or a tensor or array of another shape, dtype, layout or with odd values."""
    if isinstance(value, np.ndarray):
        spoiled = spoil(draws, torch.from_numpy(value))
        numpy_knows = isinstance(spoiled, Tensor) and spoiled.dtype != torch.bfloat16
        return spoiled.numpy() if numpy_knows else spoiled
    if not isinstance(value, Tensor) or one_of_ten(draws):
        return choice(draws, JUNK)
    return choice(draws, (odd_shape, odd_dtype, odd_values, odd_layout))(draws, value)


def one_of_ten(draws: Draws) -> bool:
    return draws.integer(0, 9) == 9


def odd_shape(draws: Draws, value: Tensor) -> Tensor:
    kind = draws.integer(0, 5)
    if kind == 0 or value.dim() == 0:
        return value[None]
    axis = draws.integer(0, value.dim() - 1)
    if kind == 1 and value.shape[axis]:
        return value.select(axis, 0)
    if kind == 2:
        return value.narrow(axis, 0, 0)
    if kind == 3:
        return torch.cat([value, value.narrow(axis, 0, 1)], axis)
    return value.transpose(axis, 0) if kind == 4 else value.narrow(axis, 0, max(value.shape[axis] - 1, 0))


def odd_dtype(draws: Draws, value: Tensor) -> Tensor:
    return value.to(choice(draws, (*DTYPES, torch.int64, torch.int16, torch.uint8, torch.int8, torch.bool, torch.complex64)))


def odd_values(draws: Draws, value: Tensor) -> Tensor:
    """One element of another value, or all."""
    floats = (float('nan'), float('inf'), -float('inf'), 1e38, 1e-42, 0.0)
    odd = choice(draws, floats if value.is_floating_point() else (-1, 10**6, 2**31 - 1, -2**31, 3))
    if value.dtype == torch.float16 and odd == 1e38:
        odd = torch.finfo(torch.float16).max
    if not value.is_floating_point() and not value.is_complex():
        odd = odd % 2 if value.dtype == torch.bool else max(min(odd, torch.iinfo(value.dtype).max), torch.iinfo(value.dtype).min)
    spoiled = value.clone()
    if spoiled.numel() and not one_of_ten(draws):
        spoiled[tuple(draws.integer(0, side - 1) for side in spoiled.shape)] = odd
        return spoiled
    return torch.full_like(value, odd)


def odd_layout(draws: Draws, value: Tensor) -> Tensor:
    if value.dim() == 4:
        return with_layout(choice(draws, LAYOUTS[1:]), value)
    return value.repeat_interleave(2, -1)[..., ::2] if value.dim() else value


def summary(value: Any) -> str:
    """A short text for messages."""
    if isinstance(value, (Tensor, np.ndarray)):
        return f'{type(value).__name__} {value.dtype} {tuple(value.shape)}'
    return repr(value)[:60]
