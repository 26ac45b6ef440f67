_base_ = [
    '../../_base_/models/dht-vit-s_cls-head.py',
    '../../_base_/datasets/imagenet_192.py',
    '../../_base_/schedules/lamb_400e_mmpretrain.py',
    '../../_base_/default_runtime_mmpretrain.py',
]
# CutMix keeps region borders; MixUp would blend them.
model = dict(
    backbone=dict(img_size=192, features=dict(pos_grid=16)),
    train_cfg=dict(augments=[dict(type='CutMix', alpha=1.0)]))
