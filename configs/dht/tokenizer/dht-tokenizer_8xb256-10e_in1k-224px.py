_base_ = [
    '../../_base_/models/dht-tokenizer.py',
    '../../_base_/datasets/imagenet_224.py',
    '../../_base_/schedules/adamw_10e_tokenizer.py',
    '../../_base_/default_runtime_mmpretrain.py',
]
train_dataloader = dict(batch_size=256)
val_dataloader, val_evaluator, test_dataloader, test_evaluator = None, None, None, None
