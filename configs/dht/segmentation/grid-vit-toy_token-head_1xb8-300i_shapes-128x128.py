# The plain ViT beside dht-vit-toy: the same network on the same number of tokens, 8 x 8 square patches.
_base_ = './dht-vit-toy_token-head_1xb8-300i_shapes-128x128.py'
model = dict(backbone=dict(tokenizer=dict(_delete_=True, type='dht_mm.GridTokenizer', patch_size=16)))
