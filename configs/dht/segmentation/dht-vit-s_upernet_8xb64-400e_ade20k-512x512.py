_base_ = [
    '../../_base_/models/dht-vit-s_upernet.py',
    '../../_base_/datasets/ade20k_512x512.py',
    '../../_base_/schedules/adamw_400e_mmseg.py',
    '../../_base_/default_runtime_mmseg.py',
]
model = dict(data_preprocessor=_base_.data_preprocessor)
