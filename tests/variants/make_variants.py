"""Writes the numbers of open_clip for architecture variants: python make_variants.py, in this folder.

Needs torch, open_clip_torch (3.3.0 used) and safetensors. Tiny random models in double precision, stored as fp32: configuration in
open_clip's JSON, weights (w.*), images and tokens (in.*), features (out.*) and the gradients (grad.*) of the sum of both features
times given numbers (in.dimages, in.dtexts).
"""
import json

import torch
from open_clip.model import CLIP
from safetensors.torch import save_file

VISION = dict(image_size=12, patch_size=4, width=12, head_width=6, layers=2)
TEXT = dict(context_length=8, vocab_size=31, width=8, heads=2, layers=2)
VARIANTS = {
    "scaled_average": dict(
        embed_dim=6, quick_gelu=False,
        vision_cfg=dict(VISION, ls_init_value=0.1, pool_type="avg", no_ln_pre=True, final_ln_after_pool=True, mlp_ratio=4.3637),
        text_cfg=dict(TEXT, ls_init_value=0.1)),
    "norm_then_average": dict(
        embed_dim=6, quick_gelu=True, vision_cfg=dict(VISION, pool_type="avg"), text_cfg=dict(TEXT, no_causal_mask=True, mlp_ratio=2.0)),
    "token_after_norm": dict(
        embed_dim=6, quick_gelu=True, vision_cfg=dict(VISION, ls_init_value=0.2, no_ln_pre=True, pool_type="tok"), text_cfg=dict(TEXT)),
}


def stir(model, generator):
    """Random values everywhere, so that nothing is tested at 0 or 1."""
    with torch.no_grad():
        for name, p in model.named_parameters():
            noise = torch.randn(p.shape, generator=generator, dtype=torch.float64)
            p.copy_(1 + 0.2 * noise if name.endswith(("weight", "gamma")) and p.ndim == 1 else 0.3 * noise)


def tokens(count, generator):
    ids = torch.zeros(count, TEXT["context_length"], dtype=torch.long)
    for row in ids:
        length = int(torch.randint(1, TEXT["context_length"] - 1, (1,), generator=generator))
        row[0] = TEXT["vocab_size"] - 2
        row[1:length] = torch.randint(1, TEXT["vocab_size"] - 2, (length - 1,), generator=generator)
        row[length] = TEXT["vocab_size"] - 1
    return ids


for name, config in VARIANTS.items():
    generator = torch.Generator().manual_seed(7)
    model = CLIP(**config).double()
    stir(model, generator)
    model.train()
    images = torch.randn(5, 3, 12, 12, generator=generator, dtype=torch.float64)
    ids = tokens(5, generator)
    dimages, dtexts = (torch.randn(5, config["embed_dim"], generator=generator, dtype=torch.float64) for _ in range(2))
    image_features, text_features = model.encode_image(images), model.encode_text(ids)
    ((image_features * dimages).sum() + (text_features * dtexts).sum()).backward()
    out = {"in.images": images, "in.tokens": ids, "in.dimages": dimages, "in.dtexts": dtexts,
           "out.image_features": image_features, "out.text_features": text_features}
    out.update({"w." + k: v for k, v in model.state_dict().items()})
    out.update({"grad." + k: p.grad for k, p in model.named_parameters() if p.grad is not None})
    out = {k: v.detach().clone().contiguous() for k, v in out.items()}
    save_file({k: v.float() if v.is_floating_point() else v for k, v in out.items()}, name + ".safetensors")
    with open(name + ".json", "w") as file:
        json.dump(config, file, indent=1)
        file.write("\n")
