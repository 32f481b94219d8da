#!/usr/bin/env python3
"""Makes fixtures.tar.gz beside this script: make_parity.py [FOLDER], which then also keeps the files in FOLDER

A tiny CLIP computed by open_clip (3.3.0 was used) in double precision, with random weights of few binary digits; the
same weights in the containers that people have; variants of the architecture; a memory student, whose memory layer is
written here from its formula (open_clip has none). Needs torch, torchvision, open_clip and safetensors. Tests
compare ours with these numbers, so a clone needs none of them. Numbers are rounded, far below what the tests ask,
so that they pack well. Also measures the error of PyTorch's own bf16 (CPU autocast), which bounds ours:
make_parity.py --bf16 FOLDER... prints it for folders in this form.
"""
import argparse
import copy
import gzip
import io
import json
import math
import os
import sys
import tarfile
import tempfile

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file

from open_clip.loss import ClipLoss
from open_clip.model import CLIP

HERE = os.path.dirname(os.path.abspath(__file__))
BATCH, STEPS = 8, 5
CONFIG = dict(embed_dim=6,
              vision_cfg=dict(image_size=4, layers=2, width=4, head_width=2, patch_size=2),
              text_cfg=dict(context_length=8, vocab_size=23, width=4, heads=2, layers=1))
MEMORY = dict(tower="vision", layers=[0, 1], n_keys=4, heads=2, knn=2, k_dim=4, v_dim=5, share_values=True,
              swilu_projection=True, gated=False)


def fixed(x, bits):
    """Multiples of 2^-bits: half precision holds them, and they pack well."""
    return torch.round(x * 2**bits) / 2**bits


def probe(x):
    """What stands for a gradient: its sums under three sequences of signs, and its norm, to 2^-19 of the norm. An error
    of any direction changes the sums by about its own norm."""
    x = x.detach().double().flatten()
    i = torch.arange(1, x.numel() + 1)
    signs = [1 - 2 * ((i * 2654435761 * (2 * k + 1)) % 2**32 // 2**31) for k in range(3)]
    numbers = torch.stack([(s * x).sum() for s in signs] + [x.norm()])
    return fixed(numbers, 19 - math.ceil(math.log2(numbers[3].item() or 1)))


def stir(module, generator):
    """Random values everywhere, biases and norms included."""
    with torch.no_grad():
        for name, p in module.named_parameters():
            r = torch.randn(p.shape, generator=generator, dtype=torch.float64)
            if name == "logit_scale":
                p.fill_(2.5)
            elif p.ndim < 2:
                p.copy_(fixed(0.1 * r + (1 if name.endswith(("weight", "gamma")) else 0), 6))
            else:
                p.copy_(fixed(r * 0.7 / math.sqrt(p[0].numel()), 6))


def pictures(generator):
    size = CONFIG["vision_cfg"]["image_size"]
    return fixed(torch.randn(BATCH, 3, size, size, generator=generator), 1)


def batch(generator):
    c = CONFIG["text_cfg"]
    images = pictures(generator)
    tokens = torch.zeros(BATCH, c["context_length"], dtype=torch.long)
    for i in range(BATCH):
        k = int(torch.randint(1, c["context_length"] - 1, (1,), generator=generator))
        tokens[i, 0] = c["vocab_size"] - 2
        tokens[i, 1:1 + k] = torch.randint(1, c["vocab_size"] - 2, (k,), generator=generator)
        tokens[i, 1 + k] = c["vocab_size"] - 1
    return images, tokens


def write(tensors, *path, half=False):
    os.makedirs(os.path.join(OUT, *path[:-1]), exist_ok=True)
    tensors = {k: fixed(v.detach(), 18) if "after." in k else v for k, v in tensors.items()}
    narrow = lambda k: half or k in ("in.images", "steps.images")
    convert = lambda k, v: v if not v.is_floating_point() else v.half() if narrow(k) else v.float()
    save_file({k: convert(k, v.detach()).contiguous().clone() for k, v in tensors.items()}, os.path.join(OUT, *path))


def write_json(value, *path):
    os.makedirs(os.path.join(OUT, *path[:-1]), exist_ok=True)
    with open(os.path.join(OUT, *path), "w") as f:
        json.dump(value, f, indent=1)
        f.write("\n")


def groups(module, weight_decay):
    """open_clip 3.x: no decay for fewer than two axes."""
    params = [(n, p) for n, p in module.named_parameters() if p.requires_grad]
    small = lambda n, p: p.ndim < 2 or "bn" in n or "ln" in n or "bias" in n or "logit_scale" in n
    return [dict(params=[p for n, p in params if small(n, p)], weight_decay=0.0),
            dict(params=[p for n, p in params if not small(n, p)], weight_decay=weight_decay)]


def clip(activation):
    generator = torch.Generator().manual_seed(1)
    model = CLIP(**CONFIG, quick_gelu=activation == "quickgelu")
    stir(model, generator)
    weights = copy.deepcopy(model.state_dict())
    images, tokens = batch(generator)
    model = model.double()
    fi, ft, scale = model(images.double(), tokens)
    loss = ClipLoss()(fi, ft, scale)
    loss.backward()
    with torch.no_grad():
        raw = model.encode_image(images.double()), model.encode_text(tokens)
    write({"in.images": images, "in.tokens": tokens, "out.image_features": fi, "out.text_features": ft,
           "out.image_features_unnormalised": raw[0], "out.text_features_unnormalised": raw[1],
           "out.loss": loss.reshape(1), **{"probe.grad." + n: probe(p.grad) for n, p in model.named_parameters()}},
          "clip", activation + ".safetensors")
    return weights


def five_steps(activation, weights):
    generator = torch.Generator().manual_seed(2)
    model = CLIP(**CONFIG, quick_gelu=activation == "quickgelu")
    model.load_state_dict(weights)
    model.double()
    optimiser = torch.optim.AdamW(groups(model, 0.2), lr=1e-3, betas=(0.9, 0.98), eps=1e-6)
    record = {k: [] for k in ("in.images", "in.tokens", "in.lr", "out.loss", "out.grad_norm")}
    for step in range(STEPS):
        lr = 1e-3 * (step + 1) / 2 if step < 2 else 0.5 * (1 + math.cos(math.pi * (step - 2) / (STEPS - 2))) * 1e-3
        for group in optimiser.param_groups:
            group["lr"] = lr
        images, tokens = batch(generator)
        optimiser.zero_grad()
        loss = ClipLoss()(*model(images.double(), tokens))
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        with torch.no_grad():
            model.logit_scale.clamp_(0, math.log(100))
        for key, value in zip(record, (images, tokens, torch.tensor(lr), loss.detach(), norm)):
            record[key].append(value)
    write({**{k: torch.stack(v) for k, v in record.items()},
           **{"after." + k: v for k, v in model.state_dict().items()}}, "clip", activation + "_five_steps.safetensors")


def containers(weights):
    """The weights of clip/ as others keep them: shards, a training checkpoint with views, Hugging Face's names."""
    write_json(CONFIG, "clip", "open_clip_config.json")
    write(weights, "clip", "weights.safetensors", half=True)
    # text keys under text., a prefix, bf16 and fp64 beside fp32, views of shared storages, transposed strides
    odd = {}
    for i, (k, v) in enumerate(weights.items()):
        v = v if v.ndim != 2 else torch.cat([v, v]).t().contiguous().t()[:v.shape[0]] if i % 3 == 0 else v
        v = v.double() if i % 5 == 0 else v.half() if i % 5 == 1 else v.clone()
        odd["module." + (k if k.startswith("visual.") or k == "logit_scale" else "text." + k)] = v
    torch.save({"epoch": 4, "name": "odd", "args": argparse.Namespace(lr=1e-3), "state_dict": odd},
               os.path.join(OUT, "clip", "checkpoint.pt"))
    hf = {"logit_scale": weights["logit_scale"], "text_projection.weight": weights["text_projection"].t(),
          "visual_projection.weight": weights["visual.proj"].t(),
          "text_model.embeddings.position_ids": torch.arange(8).reshape(1, 8)}
    for k, v in weights.items():
        side, inner = ("vision_model.", k[7:]) if k.startswith("visual.") else ("text_model.", k)
        for ours, theirs in (("transformer.resblocks.", "encoder.layers."), ("ln_1", "layer_norm1"), ("c_fc", "fc1"),
                             ("ln_2", "layer_norm2"), ("c_proj", "fc2"), ("attn.out_proj", "self_attn.out_proj"),
                             ("token_embedding.", "embeddings.token_embedding."), ("ln_final", "final_layer_norm"),
                             ("ln_pre", "pre_layrnorm"), ("ln_post", "post_layernorm"),
                             ("class_embedding", "embeddings.class_embedding"),
                             ("conv1.weight", "embeddings.patch_embedding.weight"),
                             ("positional_embedding", "embeddings.position_embedding.weight")):
            inner = inner.replace(ours, theirs)
        if "in_proj" in inner:
            for part, third in zip("qkv", v.chunk(3)):
                hf[side + inner.replace("attn.in_proj_", f"self_attn.{part}_proj.")] = third
        elif k not in ("logit_scale", "text_projection", "visual.proj"):
            hf[side + inner] = v
    write(hf, "huggingface", "model.safetensors", half=True)
    tower = dict(hidden_act="quick_gelu", hidden_size=4, num_attention_heads=2, layer_norm_eps=1e-5)
    write_json(dict(architectures=["CLIPModel"], vision_config=dict(tower, image_size=4, patch_size=2),
                    text_config=dict(tower, eos_token_id=22)), "huggingface", "config.json")


class Memory(torch.nn.Module):
    """Product-key memory: two rows of keys per head, the knn best sums, values read by their softmax, a silu gate."""

    def __init__(self, width, values):
        super().__init__()
        m = MEMORY
        self.query_proj = torch.nn.Module()
        self.query_proj.query_mlps = torch.nn.ModuleList([torch.nn.Linear(width, m["heads"] * m["k_dim"])])
        self.keys = torch.nn.Parameter(torch.zeros(2 * m["heads"] * m["n_keys"], m["k_dim"] // 2))
        self.values = values
        self.swilu_projection = torch.nn.Linear(width, m["v_dim"])
        self.value_proj = torch.nn.Linear(m["v_dim"], width)

    def forward(self, x):
        m, rows = MEMORY, x.reshape(-1, x.shape[-1])
        q = self.query_proj.query_mlps[0](rows).reshape(len(rows), m["heads"], 2, m["k_dim"] // 2)
        keys = self.keys.reshape(m["heads"], 2, m["n_keys"], m["k_dim"] // 2)
        scores, index = torch.einsum("nhsd,hskd->nhsk", q, keys).topk(m["knn"], dim=-1)
        sums = (scores[:, :, 0, :, None] + scores[:, :, 1, None, :]).flatten(2)
        slots = (index[:, :, 0, :, None] * m["n_keys"] + index[:, :, 1, None, :]).flatten(2)
        best, which = sums.topk(m["knn"], dim=-1)
        read = (best.softmax(-1)[..., None] * self.values.weight[slots.gather(-1, which)]).sum((1, 2))
        return self.value_proj(read * F.silu(self.swilu_projection(rows))).reshape(x.shape)


def student(weights):
    generator = torch.Generator().manual_seed(3)
    teacher = CLIP(**CONFIG, quick_gelu=True)
    teacher.load_state_dict(weights)
    model = copy.deepcopy(teacher)
    values = torch.nn.Embedding(MEMORY["n_keys"] ** 2, MEMORY["v_dim"])
    memories = [Memory(CONFIG["vision_cfg"]["width"], values) for _ in MEMORY["layers"]]
    for block, memory in zip(MEMORY["layers"], memories):
        stir(memory, generator)
        model.visual.transformer.resblocks[block].mlp = memory
    write(teacher.state_dict(), "student", "teacher.safetensors", half=True)
    state = {"module." + k: v.clone().half() for k, v in model.state_dict().items()}
    torch.save({"epoch": 2, "name": "distill", "state_dict": state}, os.path.join(OUT, "student", "student.pt"))
    write_json(dict(CONFIG, memory=MEMORY), "student", "config.json")
    model.requires_grad_(False)
    for memory in memories:
        memory.requires_grad_(True)
    model.double(), teacher.double()
    images, _ = batch(generator)
    with torch.no_grad():
        target = teacher.encode_image(images.double())
    features = model.encode_image(images.double())
    loss = 1 - F.cosine_similarity(target, features).mean()
    loss.backward()
    out = {"in.images": images, "out.teacher": target, "out.student": features, "out.loss_cosine": loss.reshape(1)}
    out.update({"probe.grad_cosine." + n: probe(p.grad) for n, p in model.named_parameters() if p.requires_grad})
    optimiser = torch.optim.AdamW(groups(model, 0.1), lr=5e-3, betas=(0.9, 0.98), eps=1e-6)
    steps, losses = [], []
    for _ in range(STEPS):
        images, _ = batch(generator)
        optimiser.zero_grad()
        with torch.no_grad():
            target = teacher.encode_image(images.double())
        loss = 1 - F.cosine_similarity(target, model.encode_image(images.double())).mean()
        loss.backward()
        optimiser.step()
        steps.append(images), losses.append(loss.item())
    out.update({"steps.images": torch.stack(steps), "steps.loss": torch.tensor(losses)})
    out.update({"steps.after." + n: p for n, p in model.named_parameters() if p.requires_grad})
    write(out, "student", "quickgelu.safetensors")


def tables():
    """Positional tables resampled by open_clip itself."""
    from open_clip.model import resize_pos_embed, resize_text_pos_embed

    class Visual:
        pass

    generator, out = torch.Generator().manual_seed(4), {}
    for old, new in ((7, 8), (4, 7), (7, 4)):
        table = fixed(torch.randn(old * old + 1, 1, generator=generator), 4)
        model = Visual()
        model.visual = Visual()
        model.visual.positional_embedding = torch.zeros(new * new + 1, 1)
        model.visual.grid_size = (new, new)
        state = {"visual.positional_embedding": table.clone()}
        resize_pos_embed(state, model)
        out[f"grid.{old}.{new}.in"] = table
        out[f"grid.{old}.{new}.out"] = fixed(state["visual.positional_embedding"], 18)
    for old, new in ((16, 10), (10, 16)):
        table = fixed(torch.randn(old, 1, generator=generator), 4)
        model = Visual()
        model.positional_embedding = torch.zeros(new, 1)
        state = {"positional_embedding": table.clone()}
        resize_text_pos_embed(state, model)
        out[f"line.{old}.{new}.in"] = table
        out[f"line.{old}.{new}.out"] = fixed(state["positional_embedding"], 18)
    write(out, "tables.safetensors")


VISION = dict(image_size=6, patch_size=2, width=4, head_width=2, layers=1)
TEXT = dict(context_length=8, vocab_size=11, width=4, heads=2, layers=1)
VARIANTS = {
    "scaled_average": dict(embed_dim=3, quick_gelu=False,
                           vision_cfg=dict(VISION, ls_init_value=0.1, pool_type="avg", no_ln_pre=True,
                                           final_ln_after_pool=True, mlp_ratio=4.3637),
                           text_cfg=dict(TEXT, ls_init_value=0.1)),
    "norm_then_average": dict(embed_dim=3, quick_gelu=True, vision_cfg=dict(VISION, pool_type="avg"),
                              text_cfg=dict(TEXT, no_causal_mask=True, mlp_ratio=2.0)),
    "token_after_norm": dict(embed_dim=3, quick_gelu=True,
                             vision_cfg=dict(VISION, ls_init_value=0.2, no_ln_pre=True, pool_type="tok"),
                             text_cfg=TEXT),
}


def variants():
    """Features and the gradients of the sum of both features times given numbers (in.dimages, in.dtexts)."""
    for name, config in VARIANTS.items():
        generator = torch.Generator().manual_seed(7)
        model = CLIP(**config).double()
        stir(model, generator)
        model.train()
        random = lambda *shape: fixed(torch.randn(*shape, generator=generator, dtype=torch.float64), 3)
        images, tokens = random(5, 3, 6, 6), torch.zeros(5, TEXT["context_length"], dtype=torch.long)
        for row in tokens:
            length = int(torch.randint(1, TEXT["context_length"] - 1, (1,), generator=generator))
            row[0] = TEXT["vocab_size"] - 2
            row[1:length] = torch.randint(1, TEXT["vocab_size"] - 2, (length - 1,), generator=generator)
            row[length] = TEXT["vocab_size"] - 1
        dimages, dtexts = random(5, config["embed_dim"]), random(5, config["embed_dim"])
        image_features, text_features = model.encode_image(images), model.encode_text(tokens)
        ((image_features * dimages).sum() + (text_features * dtexts).sum()).backward()
        write({"in.images": images, "in.tokens": tokens, "in.dimages": dimages, "in.dtexts": dtexts,
               "out.image_features": image_features, "out.text_features": text_features,
               **{"w." + k: v for k, v in model.state_dict().items()},
               **{"probe.grad." + k: probe(p.grad) for k, p in model.named_parameters() if p.grad is not None}},
              "variants", name + ".safetensors")
        write_json(config, "variants", name + ".json")


def colors():
    """Changes of colour by torchvision through Pillow; names end in the factor."""
    import numpy
    from PIL import Image
    from torchvision.transforms import functional

    pixels = torch.randint(0, 256, (36, 3), generator=torch.Generator().manual_seed(5), dtype=torch.uint8)
    pixels[:6] = torch.tensor([[0, 0, 0], [255, 255, 255], [9, 9, 9], [255, 0, 0], [7, 250, 7], [30, 30, 200]])
    picture = Image.fromarray(pixels.reshape(6, 6, 3).numpy())
    change = lambda picture: torch.from_numpy(numpy.array(picture)).reshape(36, 3)
    out = {"pixels": pixels, "gray.0": change(functional.to_grayscale(picture, 3))}
    factors = dict(brightness=(0.4, 1.7), contrast=(0.3, 1.6), saturation=(0.0, 2.2), hue=(-0.31, 0.1))
    for kind, pair in factors.items():
        for factor in pair:
            out[f"{kind}.{factor}"] = change(getattr(functional, "adjust_" + kind)(picture, factor))
    write(out, "colors.safetensors")


def webp():
    """Files of WebP, and the pixels that Pillow makes of them."""
    import numpy
    from PIL import Image

    y, x = numpy.mgrid[0:9, 0:11]
    rgba = numpy.stack([20 * x + y, 25 * y, 255 - 20 * x, 60 * (x % 5)], -1).astype(numpy.uint8)
    opaque, clear = Image.fromarray(rgba[..., :3]), Image.fromarray(rgba)
    exif = Image.Exif()
    exif[0x112] = 6
    cases = dict(lossy=(opaque, dict(quality=40)), lossless=(opaque, dict(lossless=True)),
                 turned=(opaque, dict(exif=exif)), alpha=(clear, dict(quality=70)),
                 exact=(clear, dict(lossless=True, exact=True)),
                 moving=(clear, dict(save_all=True, append_images=[clear.rotate(90)], duration=40)))
    out = {}
    for name, (picture, options) in cases.items():
        file = io.BytesIO()
        picture.save(file, "WEBP", **options)
        out[name] = torch.frombuffer(bytearray(file.getvalue()), dtype=torch.uint8)
        pixels = numpy.array(Image.open(io.BytesIO(file.getvalue())).convert("RGB"))
        out[name + ".pixels"] = torch.from_numpy(pixels)
    write(out, "webp.safetensors")


def pack():
    """The same bytes from the same files: no times, no owners."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        paths = [os.path.join(folder, name) for folder, _, names in os.walk(OUT) for name in names]
        for path in sorted(paths, key=lambda path: (os.path.getsize(path), path)):  # the same weights side by side
            entry = tarfile.TarInfo(os.path.relpath(path, OUT))
            entry.size = os.path.getsize(path)
            with open(path, "rb") as file:
                tar.addfile(entry, file)
    with open(os.path.join(HERE, "fixtures.tar.gz"), "wb") as file:
        file.write(gzip.compress(packed.getvalue(), 9, mtime=0))


def bf16_error(folder):
    """Relative errors under CPU autocast to bf16, against double precision: of features and logits on the folder's
    batch; of all gradients together, which vary threefold from batch to batch, the root mean square over 24 batches."""
    config = json.load(open(os.path.join(folder, "open_clip_config.json")))
    relative = lambda a, b: ((a.double() - b.double()).norm() / b.double().norm()).item()
    weights = load_file(os.path.join(folder, "weights.safetensors"))

    def run(activation, images, tokens, dtype):
        model = CLIP(**config, quick_gelu=activation == "quickgelu")
        model.load_state_dict({k: v.float() for k, v in weights.items()})
        model = model.to(dtype)
        with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.float32):
            fi, ft, scale = model(images.to(dtype), tokens)
            logits = scale * fi @ ft.T
            loss = ClipLoss()(fi, ft, scale)
        loss.backward()
        return fi, ft, logits, torch.cat([p.grad.flatten() for p in model.parameters()])

    for activation in ("gelu", "quickgelu"):
        numbers = load_file(os.path.join(folder, activation + ".safetensors"))
        images, tokens = numbers["in.images"], numbers["in.tokens"]
        pair = lambda images, tokens: zip(run(activation, images, tokens, torch.float32),
                                          run(activation, images, tokens, torch.float64))
        fi, ft, logits, _ = (relative(ours, exact) for ours, exact in pair(images, tokens))
        generator, squares = torch.Generator().manual_seed(8), []
        for _ in range(24):  # the folder's texts in another order, so that they meet other pictures
            images = torch.randn(images.shape, generator=generator)
            order = torch.randperm(len(tokens), generator=generator)
            squares.append([relative(ours, exact) for ours, exact in pair(images, tokens[order])][3] ** 2)
        print(f'{{"{os.path.basename(os.path.abspath(folder))}", "{activation}", {numbers["out.loss"].item():.5f}, '
              f'{fi:.4f}, {ft:.4f}, {logits:.4f}, {math.sqrt(sum(squares) / 24):.4f}}},')


if __name__ == "__main__":
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    if sys.argv[1:2] == ["--bf16"]:
        for name in sys.argv[2:]:
            bf16_error(name)
        sys.exit()
    OUT = sys.argv[1] if len(sys.argv) > 1 else tempfile.mkdtemp()
    trained = clip("gelu")
    clip("quickgelu")
    containers(trained)
    five_steps("quickgelu", trained)
    student(trained)
    tables()
    variants()
    colors()
    webp()
    pack()
