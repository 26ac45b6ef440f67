_base_ = [
    '../../_base_/models/dht-vit-s_token-head.py',
    '../../_base_/datasets/cityscapes_512x1024.py',
    '../../_base_/schedules/adamw_400e_mmseg.py',
    '../../_base_/default_runtime_mmseg.py',
]
# Positions of a crop's shape, and tests on such crops.
model = dict(
    data_preprocessor=_base_.data_preprocessor,
    backbone=dict(img_size=(512, 1024), features=dict(pos_grid=(48, 96))),
    decode_head=dict(num_classes=19),
    test_cfg=dict(crop_size=(512, 1024), stride=(341, 682)))
auto_scale_lr = dict(base_batch_size=64)
