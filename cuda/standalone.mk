# Tests and bench of the CUDA device where there is a CUDA toolkit and a C compiler, but no MPI, HDF5 or configure:
#   make -f cuda/standalone.mk -j8 [CUDA_ARCHITECTURES=90] [BUILD=folder] [check] [sanitize] [bench]
#     check      conformance of every operation; whole models and twenty training steps against the CPU device
#     sanitize   the conformance test under compute-sanitizer's tools
#     bench      cuda-bench: kernels and steps beside their limits
# Run from the top of the source tree; everything is written below BUILD. EMULATE=1 takes the emulated device in place
# of CUDA's: no toolkit, no GPU, sizes that take seconds.
BUILD ?= build/standalone
NVCC ?= nvcc
CUDA_ARCHITECTURES ?= 80 90
CFLAGS ?= -O3 -march=native -g
CXXFLAGS ?= -O2 -g
last := $(lastword $(CUDA_ARCHITECTURES))
code := $(foreach a,$(CUDA_ARCHITECTURES),-gencode arch=compute_$(a),code=sm_$(a)) \
  -gencode arch=compute_$(last),code=compute_$(last)
# What talks to CUDA itself; the emulation has its own.
platform := $(shell sed -n -e ':a' -e '/\\$$/{N;s/\\\n//;ba' -e '}' \
  -e 's/^cuda_platform_sources *+*= *//p' Makefile.am)
sources := $(wildcard cuda/*.cu)
ifdef EMULATE
cuda := $(patsubst %.cu,$(BUILD)/%.emulated.o,$(filter-out $(platform),$(sources))) \
  $(patsubst %.cc,$(BUILD)/%.emulated.o,$(wildcard tests/emulation/*.cc))
link = $(CXX) -fopenmp -o $@ $^ -lm -lpthread
conformance_options := --rounds 1
bench_options := --tiny
export MEMCLIP_EMULATION_REVERSE = 0
else
cuda := $(patsubst %.cu,$(BUILD)/%.cuda.o,$(sources))
toolkit := $(abspath $(dir $(realpath $(shell command -v $(NVCC))))..)
link = $(NVCC) $(code) -Xcompiler -fopenmp -o $@ $^ -lcublasLt -Xlinker -rpath,$(toolkit)/lib64 -lm -lpthread -ldl
endif
model := clip forward backward memory parameter trainable run_layout config_built_in
kernels := $(wildcard src/device/cpu/*_kernel.c) src/device/cpu/kernels.c
cpu := $(filter-out $(kernels) src/device/cpu/onednn.c,$(wildcard src/device/cpu/*.c))
object = $(patsubst %.c,$(BUILD)/%.o,$(1))
common := $(cuda) $(call object,cuda/standalone.c cuda/standalone_products.c $(wildcard src/base/*.c) \
  src/device/arena.c src/device/adamw.c $(cpu) $(kernels) $(model:%=src/model/%.c) src/train/optimizer.c bench/pass.c)
headers := $(wildcard cuda/*.h src/base/*.h src/device/*.h src/device/cpu/*.h src/model/*.h src/train/optimizer.h \
  bench/*.h tests/conformance.h tests/tiny_model.h tests/emulation/*.h)
programs := $(addprefix $(BUILD)/,cuda-conformance cuda-models cuda-bench)

all: $(programs)
$(BUILD)/%.cuda.o: %.cu $(headers)
	@mkdir -p $(@D)
	$(NVCC) -std=c++17 -O3 -lineinfo -Xptxas -warn-spills,-warn-lmem-usage $(code) -I. -Isrc -c -o $@ $<
emulated = $(CXX) -std=gnu++17 $(CXXFLAGS) -Wno-unknown-pragmas -I. -Isrc -Itests -x c++ -c -o $@ $<
$(BUILD)/%.emulated.o: %.cu $(headers)
	@mkdir -p $(@D)
	$(emulated)
$(BUILD)/%.emulated.o: %.cc $(headers)
	@mkdir -p $(@D)
	$(emulated)
$(call object,$(kernels)): defines := -DCPU_ISA=generic
$(BUILD)/%.o: %.c $(headers) $(BUILD)/config.h
	@mkdir -p $(@D)
	$(CC) -std=gnu11 -fopenmp $(CFLAGS) $(defines) -I. -Isrc -Itests -I$(BUILD) -c -o $@ $<
$(BUILD)/config.h:
	@mkdir -p $(@D)
	echo '#define _GNU_SOURCE 1' >$@
$(BUILD)/cuda-conformance: $(common) $(call object,$(wildcard tests/conformance*.c) tests/test_conformance.c)
	$(link)
$(BUILD)/cuda-models: $(common) $(call object,tests/compare_devices.c tests/tiny_model.c)
	$(link)
$(BUILD)/cuda-bench: $(common) $(call object,bench/device_bench.c bench/device_kernels.c bench/op_times.c)
	$(link)
check: all
	$(BUILD)/cuda-conformance cuda $(conformance_options)
	$(BUILD)/cuda-models cuda
sanitize: $(BUILD)/cuda-conformance
	CUDA_MODULE=built-in TEST_CONFORMANCE=$(BUILD)/cuda-conformance top_srcdir=. sh tests/cuda_sanitizer.sh
bench: $(BUILD)/cuda-bench
	$(BUILD)/cuda-bench $(bench_options)
.PHONY: all check sanitize bench
