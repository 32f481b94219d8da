"""bench_step beside PyTorch on the same cores: a table of rates, ratios and shares of the product rate.

usage: python3 bench/beside.py [--bench build/dev/bench/bench_step] [--threads N] [--rounds N] [--eager] [STEP...]
  STEP   forward distill cached contrastive, or one of them with :fp32 (all of both precisions when none is given)

Both sides run one step in turn (ours, each variant of the peer, ours, ...), so that a drifting clock or a neighbour
meets all alike; rates are medians. The best variant of the peer counts. Needs torch in the Python that runs this.
"""
import argparse
import json
import os
import statistics
import subprocess
import sys
import time

STEPS = ("forward", "distill", "cached", "contrastive")
BATCH = {"contrastive": 16}
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


def compare(options, step, precision):
    shape = ["--batch", str(BATCH.get(step, 20)), "--threads", str(options.threads)]
    peer = os.path.join(os.path.dirname(os.path.abspath(__file__)), "peer.py")
    ours = Side("memclip", [options.bench, "--paced", step, "--precision", precision, *shape])
    peers = [Side(f"PyTorch {variant}", [sys.executable, peer, step, variant, precision, *shape], MALLOC)
             for variant in (("eager",) if options.eager else ("eager", "compiled"))]
    for _ in range(options.rounds):
        for side in (ours, *peers):
            time.sleep(0.02)  # until the threads of the last one sleep
            side.step()
    for side in (ours, *peers):
        side.close()
    return ours, peers


def show(step, precision, ours, peers):
    best = max(peers, key=Side.rate)
    gflops, limit = ours.ready["gflop"] / statistics.median(ours.seconds), ours.ready["product_gflops"]
    each = ", ".join(f"{side.name.split()[1]} {side.rate():.2f}" for side in peers)
    print(f"{step:<12} {precision}  {ours.rate():8.2f} /s  {best.rate():8.2f} /s ({each})  {ours.rate() / best.rate():5.2f}x"
          f"  {gflops:6.0f} of {limit:.0f} GFLOP/s = {gflops / limit:4.0%}"
          f"  {ours.last['gigabytes']:5.2f} / {min(side.last['gigabytes'] for side in peers):5.2f} GB")
    print("    " + ", ".join(f"{name} {share:.1%}" for name, share in ours.last["shares"].items() if share > 0),
          flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("steps", nargs="*", metavar="STEP")
    parser.add_argument("--bench", default="build/dev/bench/bench_step")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--eager", action="store_true", help="without torch.compile, which takes minutes the first time")
    options = parser.parse_args()
    print(f"{'step':<12} {'':4}  {'memclip':>11}  {'PyTorch, the best variant':<45} {'ratio':>5}  of the product rate,"
          "  memory grown by ours / peer")
    for name in options.steps or [*STEPS, *(f"{step}:fp32" for step in STEPS)]:
        step, _, precision = name.partition(":")
        if step not in STEPS or precision not in ("", "bf16", "fp32"):
            parser.error(f"unknown step {name}")
        show(step, precision or "bf16", *compare(options, step, precision or "bf16"))


if __name__ == "__main__":
    main()
