"""The programs of bench/ beside PyTorch and Pillow on the same cores or GPU: rates, ratios, shares of the product rate.

usage: python3 bench/beside.py [--device cpu|cuda] [--bench build/dev/bench] [--threads N] [--batch N] [--rounds N]
                               [--eager] [--no-kernels] [STEP...]
  STEP   forward, distill, cached, contrastive (B/16 at 224), each also as STEP:fp32;
         on the CPU also pixels:eval, pixels:train (per core), ranks (5,000 images x 25,000 texts, both ways);
         by default all of the device

Both sides run one step in turn (ours, each variant of the peer, ours, ...), so that a drifting clock or a neighbour
meets all alike; rates are medians. The best variant of the peer counts. Needs torch in the Python that runs this;
pixels need torchvision and Pillow. On a GPU (the module that MEMCLIP_CUDA_MODULE names, or the installed one) the
batch is 256, and cuda-bench's table of kernels and steps against their limits comes first, from the same run.
"""
import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time

PASSES = ("forward", "distill", "cached", "contrastive")
STEPS = (*PASSES, *(f"{name}:fp32" for name in PASSES), "pixels:eval", "pixels:train", "ranks")
BATCH = {"contrastive": 16}
GPU_BATCH = 256
HERE = os.path.dirname(os.path.abspath(__file__))
# A heap that gives nothing back: otherwise page faults cost PyTorch up to a third.
MALLOC = {"MALLOC_MMAP_THRESHOLD_": "8589934592", "MALLOC_TRIM_THRESHOLD_": "17179869184"}


class Side:
    """A process that runs a step for every line it gets."""

    def __init__(self, name, command, environment=None):
        self.name = name
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=subprocess.DEVNULL, text=True, env={**os.environ, **(environment or {})})
        self.ready, self.seconds = self.answer(), []

    def answer(self):
        line = self.process.stdout.readline()
        if not line:
            sys.exit(f"{self.name}: {' '.join(map(str, self.process.args))} ended before it was asked to")
        return json.loads(line)

    def step(self):
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        self.seconds.append(self.answer()["seconds"])

    def close(self):
        self.process.stdin.close()
        self.last = self.answer()
        self.process.wait()

    def rate(self):
        return self.ready["items"] / statistics.median(self.seconds)


def photograph(path):
    """500 x 375, smooth shapes and grain: about 75 kB, as pictures of that size are."""
    import numpy
    from PIL import Image
    random = numpy.random.default_rng(1)
    coarse = (128 + 50 * random.normal(size=(12, 16, 3)).clip(-2, 2)).astype("uint8")
    smooth = numpy.asarray(Image.fromarray(coarse).resize((500, 375), Image.Resampling.BICUBIC)).astype(int)
    grain = random.normal(scale=12, size=smooth.shape).astype(int)
    Image.fromarray((smooth + grain).clip(0, 255).astype("uint8")).save(path, quality=90)


def commands(options, step, detail, folder):
    """Ours, and the peer's variants by name."""
    peer = [sys.executable, os.path.join(HERE, "peer.py"), step]
    if step == "ranks":
        return [f"{options.bench}/bench_rank", "--paced"], {"argsort": [*peer, "eager", "fp32"]}
    if step == "pixels":
        picture = os.path.join(folder, "picture.jpg")
        photograph(picture)
        ours = [f"{options.bench}/bench_pixels", "--paced", *(["--train"] if detail == "train" else []), picture]
        return ours, {"Pillow": [*peer, detail, "fp32", "--threads", "1", "--file", picture]}
    batch = options.batch or (GPU_BATCH if options.device == "cuda" else BATCH.get(step, 20))
    shape = ["--device", options.device, "--batch", str(batch), "--threads", str(options.threads)]
    precision = detail or "bf16"
    return [f"{options.bench}/bench_step", "--paced", step, "--precision", precision, *shape], \
        {variant: [*peer, variant, precision, *shape] for variant in ["eager", "compiled"][:1 if options.eager else 2]}


def show_kernels(options):
    """cuda-bench's one line of JSON as a table."""
    command = [f"{options.bench}/../cuda-bench", "--device", options.device, "--json",
               *(["--batch", str(options.batch)] if options.batch else []), *(["--tiny"] if options.tiny else [])]
    answer = json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True).stdout)
    print(f"{answer['device']}\nlimits: product {answer['product_tflops']:.1f} TFLOP/s, "
          f"copy {answer['copy_tbytes']:.2f} TB/s; batch {answer['batch']}")
    for result in answer["results"]:
        print(f"{result['name']:<40} {result['ms']:9.3f} ms ({result['best']:.3f} to {result['worst']:.3f}) "
              f"{result['tflops']:7.1f} TFLOP/s {result['tbytes']:6.2f} TB/s  {result['share']:.0%} of the "
              f"{result['binds']}" + (f"  {result['rate']:.1f} /s" if "rate" in result else ""))
    sys.stdout.flush()


def compare(options, step, detail):
    with tempfile.TemporaryDirectory() as folder:
        command, peers = commands(options, step, detail, folder)
        ours = Side("memclip", command)
        peers = [Side(name, words, MALLOC) for name, words in peers.items()]
        for _ in range(options.rounds):
            for side in (ours, *peers):
                time.sleep(0.02)  # until the threads of the last one sleep
                side.step()
        for side in (ours, *peers):
            side.close()
    return ours, peers


def show(name, ours, peers):
    best = max(peers, key=Side.rate)
    each = ", ".join(f"{side.name} {side.rate():.2f}" for side in peers)
    line = f"{name:<17} {ours.rate():8.2f} /s  {best.rate():8.2f} /s  {ours.rate() / best.rate():5.2f}x  ({each})"
    if "gflop" in ours.ready:
        rate, limit = ours.ready["gflop"] / statistics.median(ours.seconds), ours.ready["product_gflops"]
        line += f"  {rate:.0f} of {limit:.0f} GFLOP/s = {rate / limit:.0%}"
        line += f"  {ours.last['gigabytes']:.2f} and {min(side.last['gigabytes'] for side in peers):.2f} GB"
    print(line)
    if "shares" in ours.last:
        print("    " + ", ".join(f"{what} {share:.1%}" for what, share in ours.last["shares"].items() if share > 0))
    sys.stdout.flush()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("steps", nargs="*", metavar="STEP")
    parser.add_argument("--bench", default="build/dev/bench", help="folder of the programs")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--batch", type=int, default=0, help="of a micro-batch; 0: 20, 16 pairs, or 256 on a GPU")
    parser.add_argument("--no-kernels", action="store_true", help="on a GPU: without cuda-bench")
    parser.add_argument("--tiny", action="store_true", help="cuda-bench at the sizes of a test")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--eager", action="store_true", help="without torch.compile, which takes minutes at first")
    options = parser.parse_args()
    for name in options.steps:
        if name not in STEPS:
            parser.error(f"unknown step {name}: {', '.join(STEPS)}")
    if options.device == "cuda" and not options.no_kernels:
        show_kernels(options)
    print(f"{'step':<17} {'memclip':>11}  {'best peer':>11}  {'ratio':>6}  (peers)  speed of the product rate"
          "  memory grown, ours and the peer's")
    for name in options.steps or (PASSES if options.device == "cuda" else STEPS):
        step, _, detail = name.partition(":")
        show(name, *compare(options, step, detail))


if __name__ == "__main__":
    main()
