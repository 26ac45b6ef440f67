"""The blocks: against torch's own transformer layer, and what they promise about batches, dropping and memory."""

import pytest
import torch
from torch import Tensor, nn

from dht_mm.encoder import Block, DropPath, Encoder, LayerScale, TokenLayout

LENGTHS = (5, 3, 9)
OFFSETS = torch.tensor([0, 5, 8, 17], dtype=torch.int32)
SIZES = dict(embed_dims=16, num_layers=3, num_heads=2, feedforward_channels=24)


def make_encoder(**options) -> Encoder:
    torch.manual_seed(0)
    encoder = Encoder(**SIZES | options)
    for parameter in encoder.parameters():
        nn.init.normal_(parameter, std=0.3)
    return encoder


def draw_tokens() -> Tensor:
    return torch.randn(17, 16, generator=torch.Generator().manual_seed(1))


def test_block_is_torchs_pre_norm_layer():
    torch.manual_seed(0)
    theirs = nn.TransformerEncoderLayer(16, 2, 24, 0.0, nn.functional.gelu, 1e-6, batch_first=True, norm_first=True)
    ours = Block(16, 2, 24, layer_scale_init_value=0)
    parts = {'attn.qkv': 'self_attn.in_proj_', 'attn.proj': 'self_attn.out_proj.', 'mlp.fc1': 'linear1.', 'mlp.fc2': 'linear2.'}
    parts |= {name: f'{name}.' for name in ('norm1', 'norm2')}
    weights = theirs.state_dict()
    ours.load_state_dict({f'{new}.{leaf}': weights[f'{old}{leaf}'] for new, old in parts.items() for leaf in ('weight', 'bias')})
    x = draw_tokens()
    expected = torch.cat([theirs(image[None])[0] for image in x.split(LENGTHS)])
    assert torch.allclose(ours(x, TokenLayout(OFFSETS, 17)), expected, atol=1e-5)


def test_layer_scale_scales_both_branches():
    block = Block(16, 2, 24, layer_scale_init_value=0.25)
    nn.init.normal_(block.ls2.gamma)
    x, layout = draw_tokens(), TokenLayout(OFFSETS, 17)
    middle = x + 0.25 * block.attn(block.norm1(x), layout.attention(x.dtype, 8), nn.Identity())
    expected = middle + block.ls2.gamma * block.mlp(block.norm2(middle), nn.Identity())
    assert torch.allclose(block(x, layout), expected, atol=1e-6)
    assert torch.equal(LayerScale(16, 2)(x), 2 * x) and isinstance(Block(16, 2, 24, layer_scale_init_value=0).ls1, nn.Identity)


@torch.no_grad()
def test_an_image_does_not_depend_on_the_others():
    encoder, x = make_encoder().eval(), draw_tokens()
    whole = encoder(x, OFFSETS, (0, 2))
    for index in (0, 2):
        alone = [encoder(image, torch.tensor([0, len(image)], dtype=torch.int32), (0, 2))[index] for image in x.split(LENGTHS)]
        assert torch.allclose(torch.cat(alone), whole[index], atol=1e-5)


def test_outputs_are_those_of_the_blocks_and_only_the_last_is_normalised():
    encoder, x, layout = make_encoder().eval(), draw_tokens(), TokenLayout(OFFSETS, 17)
    outputs = encoder(x, OFFSETS, (2, 1))
    one = encoder.blocks[1](encoder.blocks[0](x, layout), layout)
    assert outputs.keys() == {1, 2} and torch.equal(outputs[1], one)
    assert torch.equal(outputs[2], encoder.norm(encoder.blocks[2](one, layout)))
    plain = make_encoder(final_norm=False).eval()
    assert isinstance(plain.norm, nn.Identity)


def test_drop_path_drops_whole_images_and_keeps_the_mean():
    torch.manual_seed(0)
    drop, layout, total = DropPath(0.25), TokenLayout(OFFSETS, 17), torch.zeros(2, 17, 1)
    for _ in range(2000):
        keep = drop(layout, 2)
        assert all(image.unique().tolist() in ([0.0], [1 / torch.tensor(0.75)]) for image in keep[0].split(LENGTHS))
        total += keep
    assert (total / 2000 - 1).abs().max() < 0.06 and len(total.unique()) == 6  # two branches of three images, each on its own
    assert drop.eval()(layout, 2) is None and DropPath(0).train()(layout, 2) is None


def test_dropped_branches_leave_the_tokens_alone():
    block, x, layout = Block(16, 2, 24, drop_path_rate=0.5).train(), draw_tokens(), TokenLayout(OFFSETS, 17)
    torch.manual_seed(1)
    keep = block.drop_path(layout, 2)
    assert 0 < keep.count_nonzero() < keep.numel()
    middle = x + keep[0] * block.attn(block.norm1(x), layout.attention(x.dtype, 8), block.ls1)
    torch.manual_seed(1)
    assert torch.allclose(block(x, layout), middle + keep[1] * block.mlp(block.norm2(middle), block.ls2), atol=1e-6)


def test_autocast_decides_how_tokens_attend():
    block, layout = Block(16, 2, 24), TokenLayout(OFFSETS, 17)
    asked = []
    layout.attention = lambda dtype, head_dims: asked.append((dtype, head_dims)) or TokenLayout(OFFSETS, 17).attention(dtype, head_dims)
    block(draw_tokens(), layout)
    with torch.autocast('cpu', torch.bfloat16):
        block(draw_tokens(), layout)
    assert asked == [(torch.float32, 8), (torch.bfloat16, 8)]


def test_rows_are_those_of_the_whole_output():
    encoder, x = make_encoder().eval(), draw_tokens()
    rows = OFFSETS[:-1].long()
    for indices in ((2,), (0, 1)):
        some, whole = encoder(x, OFFSETS, indices, rows), encoder(x, OFFSETS, indices)
        assert some.keys() == whole.keys()
        assert all(torch.allclose(some[index], whole[index][rows], atol=1e-5) for index in indices)


def test_dropping_images_and_asking_for_rows():
    block, x, layout, rows = Block(16, 2, 24, drop_path_rate=0.5), draw_tokens(), TokenLayout(OFFSETS, 17), torch.tensor([1, 16, 5])
    outputs = []
    for wanted in (None, rows):
        torch.manual_seed(1)
        outputs.append(block(x, layout, wanted))
    assert torch.allclose(outputs[0][rows], outputs[1], atol=1e-6)


def test_drop_path_grows_linearly():
    rates = [block.drop_path.rate for block in make_encoder(drop_path_rate=0.2).blocks]
    assert rates == pytest.approx([0, 0.1, 0.2])
    assert [block.drop_path.rate for block in make_encoder(num_layers=1, drop_path_rate=0.2).blocks] == [0]


def test_checkpointing_changes_nothing_but_memory():
    def run(with_cp: bool) -> tuple[Tensor, list[Tensor]]:
        encoder = make_encoder(with_cp=with_cp, drop_path_rate=0.5).train()
        torch.manual_seed(3)
        output = encoder(draw_tokens().requires_grad_(), OFFSETS, (2,))[2]
        output.square().sum().backward()
        return output, [parameter.grad for parameter in encoder.parameters()]

    (plain, expected), (output, gradients) = run(False), run(True)
    assert torch.equal(output, plain) and all(map(torch.equal, gradients, expected))


def test_checkpointing_keeps_fewer_activations():
    def kept(with_cp: bool) -> int:
        count = 0

        def pack(tensor: Tensor) -> Tensor:
            nonlocal count
            count += 1
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            make_encoder(with_cp=with_cp)(draw_tokens().requires_grad_(), OFFSETS, (2,))
        return count

    assert kept(True) < kept(False) / 3


def test_unknown_option_and_bad_rate_are_named():
    with pytest.raises(TypeError, match='qkv_bais'):
        make_encoder(qkv_bais=True)
    with pytest.raises(ValueError, match='drop_path_rate must be .* got 1'):
        make_encoder(drop_path_rate=1)
