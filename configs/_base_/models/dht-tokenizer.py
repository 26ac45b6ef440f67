"""The dHT tokenizer in pre-training."""

model = dict(type='dht_mm.TokenizerPretrainer', tokenizer=dict(type='dht_mm.DHTTokenizer', in_channels=3, hidden_channels=8))
