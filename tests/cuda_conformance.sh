#!/bin/sh
# The device conformance test on the CUDA kernels: on a GPU, or on the host by tests/emulation, which needs neither a
# GPU nor a CUDA toolkit.
. "${top_srcdir:-.}/tests/cuda_module.sh"
exec tests/test_conformance cuda
