"""COCO-Stuff 10k (171 classes), as mmsegmentation's tools/dataset_converters/coco_stuff10k.py lays it out."""

_base_ = './segmentation_512x512.py'

dataset = dict(type='COCOStuffDataset', data_root='data/coco_stuff10k', reduce_zero_label=True)
train_dataloader = dict(dataset=dict(
    **dataset, data_prefix=dict(img_path='images/train2014', seg_map_path='annotations/train2014')))
val_dataloader = dict(dataset=dict(
    **dataset, data_prefix=dict(img_path='images/test2014', seg_map_path='annotations/test2014')))
test_dataloader = val_dataloader
