#!/bin/sh
# The conformance test on the emulated device with all matrix products by the kernel for those that cuBLASLt has no
# algorithm for.
CUDA_MODULE=
. "${top_srcdir:-.}/tests/cuda_module.sh"
MEMCLIP_EMULATION_CHOICES=plain exec tests/test_conformance cuda --rounds 2
