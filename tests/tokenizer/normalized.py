"""Images as tokenizers take them."""

import numpy as np
import torch
from torch import Tensor

MEAN, STD = torch.tensor([[[0.485]], [[0.456]], [[0.406]]]), torch.tensor([[[0.229]], [[0.224]], [[0.225]]])


def normalize(image: np.ndarray) -> Tensor:
    """``[H, W, 3]`` uint8 to ``[1, 3, H, W]`` float32 with ImageNet's mean and deviation."""
    return ((torch.from_numpy(image).movedim(2, 0).float() / 255 - MEAN) / STD)[None]
