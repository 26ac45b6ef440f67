"""dHT-ViT-S with a linear classifier on the class token, for mmpretrain."""

model = dict(
    type='ImageClassifier',
    backbone=dict(
        type='dht_mm.DHTViT',
        arch='small',
        img_size=224,
        patch_size=16,
        out_type='cls_token',
        drop_path_rate=0.1,
        features=dict(pos_grid=24, gradient=True),
        # The tokenizer comes pre-trained: with its running statistics regions in training are cut as in evaluation.
        tokenizer=dict(
            type='dht_mm.DHTTokenizer',
            token_budget=dict(mode='soft'),
            norm_eval=True,
            init_cfg=dict(type='Pretrained', checkpoint='dht_mm://tokenizer_c01'))),
    head=dict(
        type='LinearClsHead',
        num_classes=1000,
        in_channels=384,
        loss=dict(type='LabelSmoothLoss', label_smooth_val=0.1, mode='original'),
        topk=(1, 5)))
