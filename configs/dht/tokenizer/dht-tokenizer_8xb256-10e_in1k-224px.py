_base_ = [
    '../../_base_/models/dht-tokenizer.py',
    '../../_base_/datasets/imagenet_224_train.py',
    '../../_base_/schedules/adamw_10e_tokenizer.py',
    '../../_base_/default_runtime_mmpretrain.py',
]
train_dataloader = dict(batch_size=256)
