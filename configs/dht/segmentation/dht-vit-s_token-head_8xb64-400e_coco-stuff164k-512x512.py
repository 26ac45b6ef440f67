_base_ = [
    '../../_base_/models/dht-vit-s_token-head.py',
    '../../_base_/datasets/coco-stuff164k_512x512.py',
    '../../_base_/schedules/adamw_400e_mmseg.py',
    '../../_base_/default_runtime_mmseg.py',
]
model = dict(data_preprocessor=_base_.data_preprocessor, decode_head=dict(num_classes=171))
