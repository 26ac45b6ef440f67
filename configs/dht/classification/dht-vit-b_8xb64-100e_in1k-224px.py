_base_ = './dht-vit-s_8xb64-100e_in1k-224px.py'
model = dict(backbone=dict(arch='base', drop_path_rate=0.2), head=dict(in_channels=768))
load_from = 'data/pretrain/dht-vit-b_8xb256-400e_in1k-192px.pth'
