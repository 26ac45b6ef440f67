"""COCO-Stuff 164k (171 classes), as mmsegmentation's tools/dataset_converters/coco_stuff164k.py lays it out."""

_base_ = './segmentation_512x512.py'

dataset = dict(type='COCOStuffDataset', data_root='data/coco_stuff164k')
train_dataloader = dict(dataset=dict(
    **dataset, data_prefix=dict(img_path='images/train2017', seg_map_path='annotations/train2017')))
val_dataloader = dict(dataset=dict(
    **dataset, data_prefix=dict(img_path='images/val2017', seg_map_path='annotations/val2017')))
test_dataloader = val_dataloader
