_base_ = [
    '../../_base_/models/dht-vit-s_token-head.py',
    '../../_base_/datasets/camvid_360x480.py',
    '../../_base_/schedules/adamw_40e_mmseg.py',
    '../../_base_/default_runtime_mmseg.py',
]
model = dict(
    data_preprocessor=_base_.data_preprocessor,
    backbone=dict(
        img_size=(360, 480),
        features=dict(pos_grid=(34, 45)),
        # As many tokens as there are patches of 16 x 16 pixels and, as those are, of even size.
        tokenizer=dict(token_budget=dict(mode='hard', train=675, test=675, spread=0.1))),
    decode_head=dict(num_classes=11),
    test_cfg=dict(_delete_=True, mode='whole'))
