# cuda-conformance and cuda-bench where there is a CUDA toolkit and a C compiler, but no MPI, HDF5 or configure:
#   make -f cuda/standalone.mk -j8 [CUDA_ARCHITECTURES=90] [BUILD=folder] [check]
# Run from the top of the source tree; everything is written below BUILD.
BUILD ?= build/standalone
NVCC ?= nvcc
CUDA_ARCHITECTURES ?= 80 90
CFLAGS ?= -O2 -g
last := $(lastword $(CUDA_ARCHITECTURES))
code := $(foreach a,$(CUDA_ARCHITECTURES),-gencode arch=compute_$(a),code=sm_$(a)) \
  -gencode arch=compute_$(last),code=compute_$(last)
cuda := $(patsubst cuda/%.cu,$(BUILD)/%.cuda.o,$(wildcard cuda/*.cu))
common := $(BUILD)/cuda/standalone.o $(addprefix $(BUILD)/src/base/,error.o memory.o clock.o random.o dtype.o text.o)
conformance := $(patsubst %.c,$(BUILD)/%.o,$(wildcard tests/conformance*.c) tests/test_conformance.c)
headers := $(wildcard cuda/*.h src/base/*.h src/device/*.h tests/conformance.h)

all: $(BUILD)/cuda-conformance $(BUILD)/cuda-bench
$(BUILD)/%.cuda.o: cuda/%.cu $(headers)
	@mkdir -p $(@D)
	$(NVCC) -std=c++17 -O3 -lineinfo -Xptxas -warn-spills,-warn-lmem-usage $(code) -I. -Isrc -c -o $@ $<
$(BUILD)/%.o: %.c $(headers) $(BUILD)/config.h
	@mkdir -p $(@D)
	$(CC) -std=gnu11 $(CFLAGS) -I. -Isrc -Itests -I$(BUILD) -c -o $@ $<
$(BUILD)/config.h:
	@mkdir -p $(@D)
	: >$@
$(BUILD)/cuda-conformance: $(cuda) $(common) $(conformance)
	$(NVCC) $(code) -o $@ $^ -lcublasLt -lm
$(BUILD)/cuda-bench: $(cuda) $(common) $(BUILD)/bench/cuda_bench.o
	$(NVCC) $(code) -o $@ $^ -lcublasLt -lm
check: all
	$(BUILD)/cuda-conformance cuda
	$(BUILD)/cuda-bench
.PHONY: all check
