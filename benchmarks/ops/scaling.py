"""How the tokenizer's cost grows with the image: time and peak memory per pixel from 64 to 2048 pixels a side, batch 1.

    python benchmarks/ops/scaling.py --images ../shared/images --checkpoint TOKENIZER.pth
"""

import torch
from common import build_tokenizer, median_ms, parser, peak_bytes, photographs

SIDES = (64, 128, 256, 512, 1024, 2048)


def main() -> None:
    args = parser(__doc__).parse_args()
    tokenizer = build_tokenizer(args)
    on_gpu = args.device.startswith('cuda')
    print(torch.cuda.get_device_name() if on_gpu else f'CPU, {torch.get_num_threads()} threads')
    print(f'{"side":>6} {"ms":>9} {"ns/pixel":>9} {"bytes/pixel":>12} {"regions":>8}')
    for side in SIDES:
        images = photographs(args.images, 1, side, side, args.device)
        run = torch.inference_mode()(lambda images=images: tokenizer(images))
        ms = median_ms(run, args.device, args.repeats if side < 1024 else 5)
        memory = f'{peak_bytes(run) / side**2:12.1f}' if on_gpu else f'{"":12}'
        print(f'{side:6} {ms:9.2f} {1e6 * ms / side**2:9.1f} {memory} {run().total_regions:8}', flush=True)


if __name__ == '__main__':
    main()
