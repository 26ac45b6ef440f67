"""Logits of pixels from tokens, against a loop over pixels."""

from dataclasses import replace

import pytest
import torch
from partitions import random_case
from torch import nn

from dht_mm.heads import PixelDecode, pixel_decode
from dht_mm.structures import Partition

OPTIONS = [dict(), dict(places=1, mix=0, pixel=False), dict(places=3, mix=0, pixel=False), dict(places=1, mix=8, pixel=False),
           dict(places=2, mix=8), dict(places=1, mix=0), dict(places=1, mix=0, texture=True), dict(texture=True)]


def make(dtype=torch.float32, dims=6, classes=3, **options):
    torch.manual_seed(0)
    decode = PixelDecode(dims, classes, **options).to(dtype)
    for parameter in decode.parameters():
        nn.init.normal_(parameter, std=0.02 if parameter is decode.kernel else 0.5)
    return decode


def rows_of(partition, dims=6, classes=3, dtype=torch.float32):
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(partition.total_regions, width, generator=generator, dtype=dtype) for width in (classes, dims)]


def slow(decode, logits, tokens, partition, images):
    """One pixel after the other."""
    height, width = partition.labels.shape[1:]
    labels, side = partition.packed_labels, decode.side
    result = torch.zeros(*labels.shape, logits.shape[1])
    squares = logits[:, None].repeat(1, side**2, 1)
    if decode.places is not None:
        squares = squares + decode.places(tokens).view(len(tokens), side**2, -1)
    squares = squares.view(len(tokens), side, side, -1)
    for image in range(len(labels)):
        reach = 0.6 * (height * width / int(partition.num_regions[image]))**0.5
        for y in range(height):
            for x in range(width):
                points = [(min(max(y + round(dy * reach), 0), height - 1), min(max(x + round(dx * reach), 0), width - 1))
                          for dy, dx in decode.ring.double().tolist()]
                regions = [int(labels[image, a, b]) for a, b in points]
                weights = torch.ones(1) if decode.kernel is None else mixed(decode, regions, partition, images, image, y, x)
                for index, (region, weight) in enumerate(zip(regions, weights, strict=True)):
                    top, left, bottom, right = partition.bbox[region].tolist()
                    place = [min(max((at + 0.5 - low) / (high + 1 - low) * side - 0.5, 0), side - 1)
                             for at, low, high in ((y, top, bottom), (x, left, right))]
                    value = bilinear(squares[region], *place) if index == 0 else squares[region][round(place[0]), round(place[1])]
                    result[image, y, x] += weight * value
                if decode.slopes is not None:
                    mean = partition.mean[regions[0]]
                    squares_around = [images[image, :, max(y - side, 0):y + side + 1, max(x - side, 0):x + side + 1].flatten(1)
                                      for side in ((2, 8) if decode.texture else (2,))]
                    features = [images[image, :, y, x] - mean] + [around.mean(1) - mean for around in squares_around]
                    if decode.texture:
                        features += [around.std(1, correction=0) for around in squares_around]
                    slope = decode.slopes(tokens[regions[0]]).view(logits.shape[1], -1)
                    result[image, y, x] += slope @ torch.cat(features)
    return result.movedim(-1, 1)


def mixed(decode, regions, partition, images, image, y, x):
    distance, colour, bonus = (decode.kernel[0] * 30).exp(), (decode.kernel[1] * 30).exp(), decode.kernel[2] * 30
    scores = []
    for region in regions:
        centroid = (partition.packed_labels[image] == region).nonzero().float().mean(0)
        away = (centroid - torch.tensor([y, x])).square().sum() / partition.size[region]
        unlike = (partition.mean[region] - images[image, :, y, x]).square()
        scores.append(bonus * (region == regions[0]) - distance * away - colour * unlike.sum())
    return torch.stack(scores).softmax(0)


def bilinear(squares, y, x):
    low_y, low_x = (min(int(at), max(len(squares) - 2, 0)) for at in (y, x))
    high_y, high_x = (min(low + 1, len(squares) - 1) for low in (low_y, low_x))
    return torch.lerp(torch.lerp(squares[low_y, low_x], squares[low_y, high_x], x - low_x),
                      torch.lerp(squares[high_y, low_x], squares[high_y, high_x], x - low_x), y - low_y)


@torch.no_grad()
@pytest.mark.parametrize('options', OPTIONS)
def test_is_what_a_loop_over_pixels_gives(options, device):
    images, partition = random_case()
    decode, rows = make(**options), rows_of(partition)
    expected = slow(decode, *rows, partition, images)
    found = decode.to(device)(*(part.to(device) for part in rows), partition.to(device), images.to(device))
    torch.testing.assert_close(found.cpu(), expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize('options', OPTIONS)
def test_starts_as_the_mix_of_the_regions_logits(options):
    images, partition = random_case()
    decode = PixelDecode(6, 3, **options)
    logits, tokens = rows_of(partition)
    pixels = decode(logits, tokens, partition, images)
    if not options.get('mix', 4):
        torch.testing.assert_close(pixels, partition.scatter(logits))
    same = logits[:1].expand_as(logits)  # any mix of equal rows is that row
    torch.testing.assert_close(decode(same, tokens, partition, images), partition.scatter(same))


@pytest.mark.parametrize('size', [(1, 1), (1, 7), (5, 1), (6, 9)])
@pytest.mark.parametrize('seeds', [1, 5])
def test_any_size_and_one_region(size, seeds):
    images, partition = random_case(2, *size, seeds=seeds)
    pixels = make(mix=8)(*rows_of(partition), partition, images)
    assert pixels.shape == (2, 3, *size) and pixels.isfinite().all()


@torch.no_grad()
def test_bands_and_lattices_are_parts_of_the_map(device, monkeypatch):
    images, partition = random_case()
    decode, rows = make().to(device), [part.to(device) for part in rows_of(partition)]
    arguments = (*rows, partition.to(device), images.to(device))
    full = decode(*arguments)
    monkeypatch.setattr(pixel_decode, 'PIXELS_AT_ONCE', 4 * 2 * 17)
    bands = [*decode.bands(*arguments)]
    assert [band.shape[2] for band in bands] == [4, 4, 4, 1] and torch.equal(torch.cat(bands, 2), full)
    lattice = decode(*arguments, rows=slice(1, None, 3), columns=slice(2, None, 4))
    torch.testing.assert_close(lattice, full[:, :, 1::3, 2::4], atol=1e-5, rtol=1e-5)  # another order of additions
    places = decode(*arguments, rows=torch.tensor([5, 0], device=device), columns=torch.tensor([3], device=device))
    torch.testing.assert_close(places, full[:, :, [5, 0], 3:4], atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_boxes_of_the_regions_are_the_default():
    images, partition = random_case()
    decode, rows = make(), rows_of(partition)
    boxes = torch.cat([partition.bbox[:, :2], partition.bbox[:, 2:] + 1], 1).float()
    full = decode(*rows, partition, images)
    assert torch.equal(decode(*rows, partition, images, boxes), full)
    assert not torch.allclose(decode(*rows, partition, images, boxes + 2), full)


@torch.no_grad()
def test_images_do_not_depend_on_each_other():
    images, partition = random_case(3)
    decode, (logits, tokens) = make(), rows_of(partition)
    full = decode(logits, tokens, partition, images)
    for index in range(3):
        own = slice(*partition.offsets[index:index + 2].tolist())
        alone = Partition.from_labels(partition.labels[index:index + 1], images[index:index + 1])
        torch.testing.assert_close(decode(logits[own], tokens[own], alone, images[index:index + 1])[0], full[index])


def test_rows_of_no_region_change_nothing_and_get_no_gradient(device):
    images, partition = random_case()
    spare = {name: torch.cat([getattr(partition, name), torch.zeros_like(getattr(partition, name)[:4])]) for name in ('bbox', 'size')}
    longer = replace(partition, **spare, max_regions=20)
    decode, rows = make().to(device), [part.to(device) for part in rows_of(partition)]
    padded = [torch.cat([part, torch.ones_like(part[:4])]).requires_grad_() for part in rows]
    images = images.to(device)
    pixels = decode(*padded, longer.to(device), images)
    torch.testing.assert_close(pixels, decode(*rows, partition.to(device), images))
    pixels.square().sum().backward()
    assert all(not part.grad[-4:].any() and part.grad[:-4].any() for part in padded)


@pytest.mark.parametrize('options', [dict(places=2), dict(places=1, mix=8)])
def test_gradients(options):
    images, partition = random_case(1, 4, 5, 3)
    decode = make(torch.float64, dims=2, classes=2, **options)
    rows = [part.requires_grad_() for part in rows_of(partition, 2, 2, torch.float64)]
    names, values = zip(*decode.named_parameters(), strict=True)

    def function(logits, tokens, *parameters):
        return torch.func.functional_call(decode, dict(zip(names, parameters, strict=True)), (logits, tokens, partition, images))

    assert torch.autograd.gradcheck(function, (*rows, *values))


def test_gradients_are_the_same_in_every_run(device):
    images, partition = random_case(2, 40, 50, 30)
    decode, images, partition = make().to(device), images.to(device), partition.to(device)
    runs = []
    for _ in range(2):
        rows = [part.to(device).requires_grad_() for part in rows_of(partition)]
        runs.append(torch.autograd.grad(decode(*rows, partition, images).square().sum(), [*rows, *decode.parameters()]))
    assert all(torch.equal(*pair) for pair in zip(*runs, strict=True))


def test_reduced_precision_tokens_give_float32():
    images, partition = random_case()
    rows = [part.bfloat16() for part in rows_of(partition)]
    with torch.autocast('cpu', torch.bfloat16):
        pixels = make()(*rows, partition, images)
    torch.testing.assert_close(pixels, make()(*(part.float() for part in rows), partition, images))


@pytest.mark.parametrize('options', [dict(places=0), dict(places=1.5), dict(mix=3)])
def test_refuses_options_out_of_range(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        PixelDecode(6, 3, **options)


def test_refuses_images_of_another_size():
    images, partition = random_case()
    for wrong in (images[:, :2], images[..., :-1], images[:1]):
        with pytest.raises(ValueError, match='images must be of shape'):
            make()(*rows_of(partition), partition, wrong)
