_base_ = [
    '../../_base_/models/dht-vit-s_cls-head.py',
    '../../_base_/datasets/imagenet_224.py',
    '../../_base_/schedules/lars_90e_linear_mmpretrain.py',
    '../../_base_/default_runtime_mmpretrain.py',
]
# Everything but the classifier is frozen, the tokenizer's batch norm included.
model = dict(
    backbone=dict(
        frozen_stages=12,
        drop_path_rate=0.0,
        tokenizer=dict(init_cfg=None),
        init_cfg=dict(type='Pretrained', checkpoint='data/pretrain/dht-vit-s_8xb64-100e_in1k-224px.pth', prefix='backbone.')),
    neck=dict(type='ClsBatchNormNeck', input_features=384),
    head=dict(loss=dict(_delete_=True, type='CrossEntropyLoss'), init_cfg=dict(type='TruncNormal', layer='Linear', std=0.01)))
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='RandomResizedCrop', scale=224, backend='pillow', interpolation='bicubic'),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(type='PackInputs'),
]
train_dataloader = dict(batch_size=512, dataset=dict(pipeline=train_pipeline))
