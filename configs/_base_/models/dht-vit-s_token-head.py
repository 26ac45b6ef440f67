"""dHT-ViT-S with the decoder-free head, for mmsegmentation; the number of classes and the preprocessor come from the config."""

model = dict(
    type='EncoderDecoder',
    backbone=dict(
        type='dht_mm.DHTViT',
        arch='small',
        img_size=512,
        patch_size=16,
        out_type='tokens',
        drop_path_rate=0.1,
        features=dict(pos_grid=48),
        # The tokenizer comes pre-trained: with its running statistics regions in training are cut as in evaluation.
        tokenizer=dict(
            type='dht_mm.DHTTokenizer',
            token_budget=dict(mode='soft'),
            norm_eval=True,
            init_cfg=dict(type='Pretrained', checkpoint='dht_mm://tokenizer_c01'))),
    decode_head=dict(
        type='dht_mm.TokenHead',
        in_channels=384,
        num_classes=150,
        classifier='mlp',
        loss_decode=dict(type='dht_mm.RegionFocalLoss', gamma=4.0),
        loss_image=dict(type='dht_mm.ImageBCELoss')),
    train_cfg=dict(),
    test_cfg=dict(mode='slide', crop_size=(512, 512), stride=(341, 341)))
