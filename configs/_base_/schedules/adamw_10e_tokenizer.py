"""Tokenizer pre-training of the paper (table D.1): 10 epochs, AdamW, nothing to validate."""

optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='AdamW', lr=1e-4, weight_decay=1e-2))
train_cfg = dict(by_epoch=True, max_epochs=10)
auto_scale_lr = dict(enable=False, base_batch_size=2048)
