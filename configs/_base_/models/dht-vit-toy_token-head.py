"""A dHT-ViT of 2 million parameters with the decoder-free head, for mmsegmentation on a CPU."""

model = dict(
    type='EncoderDecoder',
    backbone=dict(
        type='dht_mm.DHTViT',
        arch=dict(embed_dims=192, num_layers=4, num_heads=3),
        img_size=128,
        patch_size=16,
        out_type='tokens',
        features=dict(pos_grid=16),
        # The tokenizer comes pre-trained: with its running statistics regions in training are cut as in evaluation.
        tokenizer=dict(
            type='dht_mm.DHTTokenizer',
            token_budget=dict(mode='hard', train=64, test=64),
            norm_eval=True,
            init_cfg=dict(type='Pretrained', checkpoint='dht_mm://tokenizer_c01'))),
    decode_head=dict(
        type='dht_mm.TokenHead',
        in_channels=192,
        num_classes=6,
        loss_decode=dict(type='dht_mm.RegionFocalLoss'),
        loss_image=dict(type='dht_mm.ImageBCELoss')),
    train_cfg=dict(),
    test_cfg=dict(mode='whole'))
