"""The PyTorch side of bench/beside.py: the same steps as bench_step, as a careful PyTorch user would write them.

usage: peer.py STEP VARIANT PRECISION [--device cpu|cuda] [--batch N] [--threads N] [--file FILE.jpg]
  STEP       forward, distill, cached, contrastive; pixels: FILE decoded, resized, normalised by Pillow and torchvision
             (VARIANT eval: centre crop, train: random resized crop); ranks: both ways by sorting 5,000 x 25,000 scores
  VARIANT    eager or compiled (torch.compile; the frozen forward with its constants folded)
  PRECISION  bf16 (autocast, frozen weights kept in bf16) or fp32
  --device   cuda: scaled_dot_product_attention takes flash attention there (bf16), AdamW is the fused one, fp32
             products are of fp32 (no TF32); a step is over when the GPU is

Protocol: a JSON line when ready; one step for every line read and its seconds as a JSON line; a last line at the end.
ViT-B/16, QuickGELU, random weights; fused qkv and scaled_dot_product_attention; no checks, no graph below the first
memory, one forward per network and micro-batch. Needs torch; pixels need torchvision and Pillow too.
"""
import argparse
import json
import resource
import sys
import time

import torch
import torch.nn.functional as F
from torch import nn

WIDTH, HEADS, BLOCKS, PATCH, SIZE, JOINT = 768, 12, 12, 16, 224, 512
TEXT_WIDTH, TEXT_HEADS, CONTEXT, VOCABULARY = 512, 8, 77, 49408
MEMORY_LAYERS = (2, 4, 6, 8, 10)


class QuickGELU(nn.Module):
    def forward(self, x):
        return x * torch.sigmoid(1.702 * x)


class Memory(nn.Module):
    """Product keys: the scores of all sub-keys by one product, the slots by two small top-k and one of their sums."""

    def __init__(self, values, heads=2, n_keys=8, knn=4, k_dim=256):
        super().__init__()
        self.heads, self.n_keys, self.knn, self.values = heads, n_keys, knn, values
        self.query = nn.Linear(WIDTH, heads * k_dim)
        self.gate = nn.Linear(WIDTH, values.shape[1])
        self.out = nn.Linear(values.shape[1], WIDTH)
        self.keys = nn.Parameter(0.02 * torch.randn(2 * heads, n_keys, k_dim // 2))

    def forward(self, x):
        rows = x.shape[:-1]
        scores = F.linear(self.query(x), torch.block_diag(*self.keys)).float().view(*rows, self.heads, 2, self.n_keys)
        best, at = scores.topk(self.knn)
        sums = (best[..., 0, :, None] + best[..., 1, None, :]).flatten(-2)
        slots = (at[..., 0, :, None] * self.n_keys + at[..., 1, None, :]).flatten(-2)
        top, chosen = sums.topk(self.knn)
        entries = self.heads * self.knn
        read = F.embedding_bag(slots.gather(-1, chosen).reshape(-1, entries), self.values, mode="sum",
                               per_sample_weights=top.softmax(-1).reshape(-1, entries))
        return self.out(read.view(*rows, -1) * F.silu(self.gate(x)))


class Block(nn.Module):
    def __init__(self, width, heads, causal):
        super().__init__()
        self.heads, self.causal = heads, causal
        self.norm_1, self.norm_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), QuickGELU(), nn.Linear(4 * width, width))

    def forward(self, x):
        batch, tokens, width = x.shape
        qkv = self.qkv(self.norm_1(x)).view(batch, tokens, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        attended = F.scaled_dot_product_attention(qkv[0], qkv[1], qkv[2], is_causal=self.causal)
        x = x + self.proj(attended.transpose(1, 2).reshape(batch, tokens, width))
        return x + self.mlp(self.norm_2(x))


class Vision(nn.Module):
    def __init__(self):
        super().__init__()
        tokens = (SIZE // PATCH) ** 2 + 1
        self.patches = nn.Conv2d(3, WIDTH, PATCH, PATCH, bias=False)
        self.token, self.position = nn.Parameter(torch.randn(WIDTH)), nn.Parameter(0.02 * torch.randn(tokens, WIDTH))
        self.before, self.after = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.blocks = nn.ModuleList([Block(WIDTH, HEADS, False) for _ in range(BLOCKS)])
        self.joint = nn.Parameter(0.02 * torch.randn(WIDTH, JOINT))

    def forward(self, images):
        x = self.patches(images).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.to(x.dtype).expand(len(x), 1, -1), x], 1) + self.position.to(x.dtype)
        x = self.before(x)
        for block in self.blocks:
            x = block(x)
        return self.after(x[:, 0]) @ self.joint


class Text(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(VOCABULARY, TEXT_WIDTH)
        self.position = nn.Parameter(0.02 * torch.randn(CONTEXT, TEXT_WIDTH))
        self.after = nn.LayerNorm(TEXT_WIDTH)
        self.blocks = nn.ModuleList([Block(TEXT_WIDTH, TEXT_HEADS, True) for _ in range(BLOCKS)])
        self.joint = nn.Parameter(0.02 * torch.randn(TEXT_WIDTH, JOINT))

    def forward(self, ids):
        x = self.embedding(ids) + self.position
        for block in self.blocks:
            x = block(x)
        return self.after(x[torch.arange(len(x)), ids.argmax(-1)]) @ self.joint


class Device:
    """Where the steps run: what differs between CPU and GPU."""

    def __init__(self, name):
        self.name = name
        if name == "cuda":
            torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
            torch.cuda.init()

    def synchronize(self):
        if self.name == "cuda":
            torch.cuda.synchronize()

    def description(self):
        return torch.cuda.get_device_name() if self.name == "cuda" else "cpu"

    def grown_gigabytes(self, kilobytes_before):
        if self.name == "cuda":
            return torch.cuda.max_memory_allocated() * 1e-9
        return (peak_kilobytes() - kilobytes_before) * 1e-6


def peak_kilobytes():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def adamw(parameters):
    trained = [p for p in parameters if p.requires_grad]
    groups = [{"params": [p for p in trained if p.ndim < 2], "weight_decay": 0.0},
              {"params": [p for p in trained if p.ndim >= 2], "weight_decay": 0.1}]
    return torch.optim.AdamW(groups, lr=5e-4, betas=(0.9, 0.98), eps=1e-6, fused=True)


def frozen(network, half):
    network.requires_grad_(False)
    return network.bfloat16() if half else network


def student_of(half):
    """Everything frozen but the memories, which share one table."""
    network, values = frozen(Vision(), half), nn.Parameter(torch.randn(64, 256))
    for layer in MEMORY_LAYERS:
        network.blocks[layer].mlp = Memory(values)
    return network


class Bench:
    def __init__(self, arguments, device):
        self.batch, self.device = arguments.batch, device
        self.file, self.variant = arguments.file, arguments.variant
        self.half, self.compiled = arguments.precision == "bf16", arguments.variant == "compiled"
        torch.set_default_device(device.name)  # all that follows is made there
        self.images = torch.randn(arguments.batch, 3, SIZE, SIZE)
        self.step, self.items = getattr(self, arguments.step)()

    def autocast(self):
        return torch.autocast(self.device.name, dtype=torch.bfloat16, enabled=self.half)

    def fast(self, network):
        return torch.compile(network) if self.compiled else network

    def forward(self):
        torch._inductor.config.freezing = self.compiled
        network, images = frozen(Vision().eval(), self.half), self.images.bfloat16() if self.half else self.images
        run = self.fast(network)

        def step():
            with torch.no_grad(), self.autocast():
                run(images)
        return step, self.batch

    def distillation(self, teacher):
        student = student_of(self.half)
        optimizer, run = adamw(student.parameters()), self.fast(student)
        images = self.images.bfloat16() if self.half else self.images
        features = torch.randn(self.batch, JOINT)

        def step():
            optimizer.zero_grad()
            for _ in range(2):
                with self.autocast():
                    with torch.no_grad():
                        target = features if teacher is None else teacher(images)
                    loss = 1 - F.cosine_similarity(target.float(), run(images).float()).mean()
                (loss / 2).backward()
            optimizer.step()
        return step, 2 * self.batch

    def distill(self):
        return self.distillation(self.fast(frozen(Vision().eval(), self.half)))

    def cached(self):
        return self.distillation(None)

    def contrastive(self):
        vision, text, scale = Vision(), Text(), nn.Parameter(torch.tensor(2.66))
        optimizer = adamw([*vision.parameters(), *text.parameters(), scale])
        run_vision, run_text = self.fast(vision), self.fast(text)
        ids = torch.randint(1, VOCABULARY - 2, (self.batch, CONTEXT))
        ids[:, 0], ids[:, 40], ids[:, 41:] = VOCABULARY - 2, VOCABULARY - 1, 0
        targets = torch.arange(self.batch)

        def step():
            optimizer.zero_grad()
            with self.autocast():
                images, texts = F.normalize(run_vision(self.images), dim=-1), F.normalize(run_text(ids), dim=-1)
                logits = scale.exp() * images @ texts.T
                loss = (F.cross_entropy(logits, targets) + F.cross_entropy(logits.T, targets)) / 2
            loss.backward()
            optimizer.step()
        return step, self.batch


    def pixels(self):
        import io
        from PIL import Image
        import torchvision.transforms as T
        bicubic = T.InterpolationMode.BICUBIC
        crop = [T.RandomResizedCrop(SIZE, scale=(0.9, 1.0), interpolation=bicubic)] if self.variant == "train" \
            else [T.Resize(SIZE, bicubic), T.CenterCrop(SIZE)]
        transform = T.Compose([*crop, T.ToTensor(), T.Normalize((0.48145466, 0.4578275, 0.40821073),
                                                                (0.26862954, 0.26130258, 0.27577711))])
        with open(self.file, "rb") as file:
            data = file.read()

        def step():
            for _ in range(100):
                transform(Image.open(io.BytesIO(data)).convert("RGB"))
        return step, 100

    def ranks(self):
        images = F.normalize(torch.randn(5000, JOINT), dim=1)
        texts = F.normalize(torch.randn(25000, JOINT), dim=1)

        def step():
            scores = images @ texts.T
            torch.argsort(scores, dim=1, descending=True)
            torch.argsort(scores.T, dim=1, descending=True)
        return step, 1


def main():
    parser = argparse.ArgumentParser()
    for name in ("step", "variant", "precision"):
        parser.add_argument(name)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--batch", type=int, default=20)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--file", default="")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(1)
    start, device = peak_kilobytes(), Device(arguments.device)
    bench = Bench(arguments, device)
    bench.step()  # compiles, or allocates
    device.synchronize()
    print(json.dumps({"items": bench.items, "device": device.description()}), flush=True)
    for _ in sys.stdin:
        begin = time.perf_counter()
        bench.step()
        device.synchronize()
        print(json.dumps({"seconds": time.perf_counter() - begin}), flush=True)
    print(json.dumps({"gigabytes": device.grown_gigabytes(start)}), flush=True)


if __name__ == "__main__":
    main()
