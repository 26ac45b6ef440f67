"""Training a tokenizer alone, by the toolkits' own scripts."""

from collections.abc import Sequence

from mmengine.model import BaseModel
from mmengine.structures import BaseDataElement, PixelData
from torch import Tensor, nn

from dht_mm.registry import MODELS
from dht_mm.structures import Partition


@MODELS.register_module()
class TokenizerPretrainer(BaseModel):
    """Trains a tokenizer to paint images with the predicted colours of its regions; needs no labels (paper, ``L_rec``).

    Works with the data sets and preprocessors of mmsegmentation and mmpretrain. A model takes the trained weights over with
    ``tokenizer=dict(type='dht_mm.DHTTokenizer', init_cfg=dict(type='Pretrained', checkpoint=FILE, prefix='tokenizer.'))``.

    Args:
        tokenizer: The tokenizer or its config.
        loss: Config of the loss, which is called with the images and their partition.
        data_preprocessor: The toolkit's preprocessor or its config. It must hand over normalised images as one tensor.
        init_cfg: Initialisation of mmengine.
    """

    def __init__(self, tokenizer: dict | nn.Module, loss: dict | nn.Module | None = None,
                 data_preprocessor: dict | nn.Module | None = None, init_cfg: dict | None = None):
        super().__init__(data_preprocessor, init_cfg)
        loss = dict(type='dht_mm.ReconstructionLoss') if loss is None else loss
        self.tokenizer = tokenizer if isinstance(tokenizer, nn.Module) else MODELS.build(tokenizer)
        self.loss = loss if isinstance(loss, nn.Module) else MODELS.build(loss)

    def forward(self, inputs: Tensor, data_samples: Sequence[BaseDataElement] | None = None,
                mode: str = 'tensor') -> Partition | dict[str, Tensor] | list[BaseDataElement]:
        """Tokenize a batch.

        Args:
            inputs: ``[B, C, H, W]`` float, normalised.
            data_samples: What the toolkits pass along, one an image; only looked at to predict.
            mode: ``'tensor'`` for the partition, ``'loss'`` for a training step, ``'predict'`` for evaluation.

        Returns:
            The partition; or ``loss_rec`` and, for the log, ``regions``, the mean number of regions of an image; or the samples with
            the labels ``[1, H, W]`` in ``pred_regions``, for :class:`PartitionMetric`.

        Raises:
            ValueError: ``mode`` is another, or there is no sample to predict for.
        """
        if mode not in ('tensor', 'loss', 'predict'):
            raise ValueError(f"mode must be 'tensor', 'loss' or 'predict', got {mode!r}")
        partition = self.tokenizer(inputs)
        if mode == 'tensor':
            return partition
        if mode == 'predict':
            if data_samples is None:
                raise ValueError("data_samples must be one an image in mode='predict', got None")
            for sample, labels in zip(data_samples, partition.labels, strict=True):
                sample.pred_regions = PixelData(data=labels[None])
            return list(data_samples)
        return dict(loss_rec=self.loss(inputs, partition), regions=partition.num_regions.float().mean())
