#!/usr/bin/env python3
"""What the CUDA compiler gives each kernel that matters, as the table of doc/gpus.md: registers, shared memory, how many
blocks and warps a multiprocessor holds, and the bytes moved beside the fewest possible. Needs nvcc and c++filt, no GPU.

    bench/kernel_resources.py [-j JOBS] [--all]    from the top of the source tree; --all lists every kernel, no blocks
"""
import argparse
import concurrent.futures
import glob
import os
import re
import subprocess
import sys
import tempfile

# Shared memory of a multiprocessor; each block takes 1 KiB more than it asks for.
SHARED = {80: 164 * 1024, 90: 228 * 1024}
WARPS, BLOCKS, REGISTERS, QUARTERS = 64, 32, 65536, 4

# Kernel, threads, dynamic shared bytes, bytes moved and the fewest possible: of ViT-B/16 at batch 256 (50,432 rows of
# 768 columns, 12 heads) where nothing else is said. What comes from the L2 cache again is not counted.
TILE64, TILE80 = 64 * 72 * 2, 64 * 88 * 2
KERNELS = [
    ("tensor_forward<64>", 128, 5 * TILE64, "310 MB", "310 MB"),
    ("tensor_query_gradients<64>", 128, 6 * TILE64, "464 MB", "both 620 MB"),
    ("tensor_key_gradients<64>", 128, 6 * TILE64, "465 MB", ""),
    ("tensor_forward<80>", 128, 5 * TILE80, "674 MB (H/14)", "674 MB"),
    ("tensor_query_gradients<80>", 128, 6 * TILE80, "1,010 MB (H/14)", "both 1,347 MB"),
    ("tensor_key_gradients<80>", 128, 6 * TILE80, "1,010 MB (H/14)", ""),
    ("norm_in_registers<bf16, bf16, 6>", 128, 0, "464 MB", "464 MB"),
    ("norm_in_registers<bf16, bf16, 10>", 128, 0, "12 B an element (1280)", "12 B"),
    ("norm_gradients_in_registers<bf16, bf16, 6, true>", 32, 0, "634 MB", "620 MB"),
    ("norm_gradients_in_registers<bf16, bf16, 6, false>", 32, 0, "620 MB", "620 MB"),
    ("norm_gradients_in_registers<bf16, bf16, 5, true>", 64, 0, "16 B an element (1280)", "16 B"),
    ("add_chunks", 512, 0, "14 MB (norm)", ""),
    ("activation<bf16, 8>", 128, 0, "620 MB", "620 MB"),
    ("activation_backward<bf16, 8>", 128, 0, "930 MB", "930 MB"),
    ("patch_pixels<bf16>", 256, 0, "77 + 39 MB", "116 MB"),
    ("image_tokens<bf16, 4>", 256, 0, "6 B an element", "6 B"),
    ("select_few<4>", 128, 0, "4 B a score", "0 (fused)"),
    ("select_short", 128, 0, "4 B a score", "0 (fused)"),
    ("bag_sum<bf16, 8>", 128, 0, "9.9 GB (2^20 slots, V 768)", "9.9 GB"),
    ("bag_dot<bf16, 8>", 128, 0, "9.9 GB", "0 (fused)"),
    ("scatter_piece<bf16, 4>", 128, 0, "16.3 GB", "16.3 GB"),
    ("tensor_bag_sum", 256, (64 * 264 + 128 * 136) * 2, "29 MB (64 slots, V 256)", "29 MB"),
    ("tensor_bag_dot", 256, 64 * 288 * 2 + 128 * 65 * 4, "29 MB", "29 MB"),
    ("tensor_bag_scatter<4>", 256, (64 * 136 + 2 * 64 * 264) * 2, "42 MB", "29 MB"),
    ("gate_forward<bf16, 8>", 128, 0, "6 B an element", "6 B"),
    ("gate_gradients<bf16, 8>", 128, 0, "10 B an element", "10 B"),
    ("join_rows", 256, 0, "4 B a logit", "0 (fused)"),
    ("join_columns", 256, 0, "4 B a logit", "0 (fused)"),
    ("differentiate_rows<bf16>", 256, 0, "6 B a logit", "0 (fused)"),
    ("square_blocks", 256, 0, "4 B an element", "4 B"),
    ("adamw_step", 256, 4 * 20, "34 B an element, gradient zeroed", "30 B"),
]


def compile_one(source, architectures):
    """(architecture, kernel, registers, static shared bytes, stack bytes) of the kernels of a file."""
    codes = [f"-gencode=arch=compute_{a},code=sm_{a}" for a in architectures]
    with tempfile.TemporaryDirectory() as folder:
        run = subprocess.run([os.environ.get("NVCC", "nvcc"), "-std=c++17", "-O3", "-Xptxas", "-v", "-I.", "-Isrc",
                              *codes, "-c", "-o", os.path.join(folder, "object.o"), source],
                             capture_output=True, text=True)
    if run.returncode:
        sys.exit(f"{source}: {run.stderr}")
    pattern = (r"Compiling entry function '(\S+)' for 'sm_(\d+)'.*?(\d+) bytes stack frame.*?Used (\d+) registers([^\n]*)")
    for name, architecture, stack, registers, rest in re.findall(pattern, run.stderr, re.S):
        static = re.search(r"(\d+) bytes smem", rest)
        yield int(architecture), name, int(registers), int(static.group(1)) if static else 0, int(stack)


def demangle(names):
    out = subprocess.run(["c++filt"], input="\n".join(names), capture_output=True, text=True, check=True).stdout
    for name, text in zip(names, out.splitlines()):
        text = text.split("(")[0].replace("unsigned short", "bf16")
        yield name, text[5:] if text.startswith("void ") else text


def resident_blocks(architecture, threads, registers, shared):
    """Blocks that fit one multiprocessor; registers are given out by warp, in units of 256, within quarters."""
    warps = (threads + 31) // 32
    of_warp = (registers * 32 + 255) // 256 * 256
    by_registers = REGISTERS // QUARTERS // of_warp * QUARTERS // warps
    by_shared = SHARED[architecture] // (shared + 1024)
    return min(by_registers, by_shared, WARPS // warps, BLOCKS)


def pair(values):
    values = [str(v) for v in values]
    return values[0] if len(set(values)) == 1 else ", ".join(values)


def print_table(found, architectures):
    print("| kernel | threads | registers | shared memory | blocks (warps) on a multiprocessor | moves | at least |")
    print("|---|---|---|---|---|---|---|")
    for name, threads, dynamic, moved, least in KERNELS:
        rows = [found.get((a, name)) for a in architectures]
        if None in rows:
            sys.exit(f"no kernel {name}: mend the table in {__file__}")
        static = rows[0][1]
        blocks = [resident_blocks(a, threads, row[0], row[1] + dynamic) for a, row in zip(architectures, rows)]
        shared = static + dynamic
        held = pair([f"{b} ({b * threads // 32})" for b in blocks])
        print(f"| {name} | {threads} | {pair([row[0] for row in rows])} | {shared:,} B | {held} | {moved} | {least} |")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-j", type=int, default=2, metavar="JOBS")
    parser.add_argument("--all", action="store_true")
    options = parser.parse_args()
    architectures = sorted(SHARED)
    with concurrent.futures.ThreadPoolExecutor(options.j) as pool:
        results = pool.map(lambda source: list(compile_one(source, architectures)), sorted(glob.glob("cuda/*.cu")))
        kernels = [kernel for result in results for kernel in result]
    names = dict(demangle(sorted({kernel[1] for kernel in kernels})))
    found = {(a, names[name]): (registers, static, stack) for a, name, registers, static, stack in kernels}
    if options.all:
        for (architecture, name), (registers, static, stack) in sorted(found.items()):
            print(f"sm_{architecture} {name}: {registers} registers, {static} B shared, {stack} B local")
    else:
        print_table(found, architectures)
    local = [f"sm_{a} {name}: {row[2]} B of local memory" for (a, name), row in found.items()
             if row[2] and "cub" not in name]
    if local:
        sys.exit("\n".join(local))


if __name__ == "__main__":
    main()
