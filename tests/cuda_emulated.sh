#!/bin/sh
# The device conformance test on the CUDA kernels, run on the host by tests/emulation. Needs no GPU and no CUDA toolkit.
module=${builddir:-$PWD}/memclip_cuda_emulated.so
test -f "$module" || { echo "1..0 # SKIP no C++ compiler: the CUDA kernels are not built for the host"; exit 0; }
MEMCLIP_CUDA_MODULE=$module exec tests/test_conformance cuda
