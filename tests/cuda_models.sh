#!/bin/sh
# Whole models on the CUDA device against the CPU: features, gradients, twenty steps of training.
. "${top_srcdir:-.}/tests/cuda_module.sh"
MEMCLIP_EMULATION_REVERSE=0 exec tests/compare_devices cuda
