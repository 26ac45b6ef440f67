_base_ = './dht-vit-s_8xb256-400e_in1k-192px.py'
model = dict(backbone=dict(arch='base', drop_path_rate=0.2), head=dict(in_channels=768))
