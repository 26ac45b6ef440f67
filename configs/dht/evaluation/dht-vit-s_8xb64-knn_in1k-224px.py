# Testing only: python tools/test.py CONFIG CHECKPOINT
_base_ = [
    '../../_base_/models/dht-vit-s_cls-head.py',
    '../../_base_/datasets/imagenet_224.py',
    '../../_base_/default_runtime_mmpretrain.py',
]
model = dict(
    _delete_=True,
    type='dht_mm.KNNClassifier',
    backbone={**_base_.model.backbone, 'tokenizer': {**_base_.model.backbone.tokenizer, 'init_cfg': None}},
    num_classes=1000,
    k=20,
    temperature=0.07,
    database=dict(
        batch_size=64,
        num_workers=8,
        sampler=dict(type='DefaultSampler', shuffle=False),
        dataset=dict(type='ImageNet', data_root=_base_.data_root, split='train', pipeline=_base_.test_pipeline)))
train_dataloader, val_dataloader, val_evaluator = None, None, None
test_cfg = dict()
