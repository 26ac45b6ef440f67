"""Any folder of photographs, without labels, at 224 x 224, for training alone."""

data_root = 'data/photos'
data_preprocessor = dict(type='ClsDataPreprocessor', mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], to_rgb=True)
train_pipeline = [
    dict(type='LoadImageFromFile'),
    # From the pixels as they are to a crop of half the picture's side and more, shrunk.
    dict(type='RandomResizedCrop', scale=224, crop_ratio_range=(0.1, 1.0), backend='pillow', interpolation='bicubic'),
    dict(type='RandomFlip', prob=0.5, direction=['horizontal', 'vertical']),
    dict(type='ColorJitter', brightness=0.3, contrast=0.3, saturation=0.3),
    dict(type='PackInputs'),
]
train_dataloader = dict(
    batch_size=16,
    num_workers=2,
    sampler=dict(type='DefaultSampler', shuffle=True),
    # Repeated: mmpretrain's PreciseBNHook takes no more batches than a round of the data has, and none from an InfiniteSampler.
    dataset=dict(
        type='RepeatDataset',
        times=1000,
        dataset=dict(type='CustomDataset', data_root=data_root, with_label=False, pipeline=train_pipeline)))
