/* The language that kernels are written in: CUDA, or plain C++ on a host without it (tests/emulation/emulation.h),
 * where the same kernels run for the conformance test. A warp has 32 lanes and blocks are whole warps; every lane of a
 * warp takes part in each warp operation, every thread of a block in each block_barrier. Kernels name neither <<<>>>
 * nor
 * __shared__: LAUNCH, SHARED and SHARED_DYNAMIC do. */
#ifndef MEMCLIP_CUDA_KERNEL_H
#define MEMCLIP_CUDA_KERNEL_H
#include "cuda/cuda.h"
#include <math.h>

enum { WARP = 32 };

#ifdef __CUDACC__
#define DEVICE static __device__ __forceinline__
#define KERNEL static __global__
#define KERNEL_THREADS(threads, blocks) static __global__ __launch_bounds__(threads, blocks)
/* An array of the block. */
#define SHARED(type, name, count) __shared__ __align__(16) type name[count]
#define SHARED_DYNAMIC(type, name)                                                                                     \
  extern __shared__ uint4 shared_memory_[];                                                                            \
  type *name = (type *)shared_memory_
/* kernel<<<blocks, threads, shared bytes>>>(...) on the device's stream; nothing when there is no block. */
#define LAUNCH(kernel, blocks, threads, shared_bytes, cuda, ...)                                                       \
  do {                                                                                                                 \
    const dim3 launch_blocks_ = blocks;                                                                                \
    auto launch_kernel_ = kernel;                                                                                      \
    if (launch_blocks_.x && launch_blocks_.y) {                                                                        \
      cuda_allow_shared((const void *)launch_kernel_, shared_bytes);                                                   \
      launch_kernel_<<<launch_blocks_, threads, shared_bytes, (cuda)->stream>>>(__VA_ARGS__);                          \
      CUDA_CHECK(cudaGetLastError());                                                                                  \
    }                                                                                                                  \
  } while (0)

DEVICE void block_barrier(void) {
  __syncthreads();
}
DEVICE void warp_barrier(void) {
  __syncwarp();
}
template <typename V> DEVICE V shuffle(V value, int lane) {
  return __shfl_sync(0xffffffffu, value, lane);
}
template <typename V> DEVICE V shuffle_xor(V value, int mask) {
  return __shfl_xor_sync(0xffffffffu, value, mask);
}
DEVICE unsigned warp_ballot(bool yes) {
  return __ballot_sync(0xffffffffu, yes);
}
DEVICE int count_bits(unsigned bits) {
  return __popc(bits);
}
DEVICE unsigned float_bits(float x) {
  return __float_as_uint(x);
}
DEVICE float float_of_bits(unsigned bits) {
  return __uint_as_float(bits);
}
/* 2^x, within two units. */
DEVICE float fast_exp2(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}
#else
#include "emulation/emulation.h"
#endif

DEVICE int lane_of_thread(void) {
  return (int)(threadIdx.x % WARP);
}
DEVICE int warp_of_thread(void) {
  return (int)(threadIdx.x / WARP);
}
DEVICE int64_t thread_of_grid(void) {
  return (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
}
DEVICE int64_t threads_of_grid(void) {
  return (int64_t)gridDim.x * blockDim.x;
}
DEVICE int64_t warp_of_grid(void) {
  return thread_of_grid() / WARP;
}

/* Every lane gets the result; the order of the additions is fixed. */
template <typename V> DEVICE V warp_sum(V value) {
#pragma unroll
  for (int mask = WARP / 2; mask > 0; mask /= 2)
    value += shuffle_xor(value, mask);
  return value;
}
DEVICE float warp_max(float value) {
#pragma unroll
  for (int mask = WARP / 2; mask > 0; mask /= 2)
    value = fmaxf(value, shuffle_xor(value, mask));
  return value;
}

/* ---- elements */

DEVICE float to_float(float x) {
  return x;
}
DEVICE float to_float(bf16 x) {
  return float_of_bits((unsigned)x << 16);
}
DEVICE void from_float(float *to, float x) {
  *to = x;
}
/* To nearest, ties to even; NaN stays NaN. */
DEVICE void from_float(bf16 *to, float x) {
  unsigned bits = float_bits(x);
  *to = (bits & 0x7fffffffu) > 0x7f800000u ? (bf16)((bits >> 16) | 0x40u)
                                           : (bf16)((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}
/* The value that a T can hold. */
template <typename T> DEVICE float rounded(float x) {
  T element;
  from_float(&element, x);
  return to_float(element);
}

/* V neighbouring elements, moved as one where they are aligned to their size, at most 16 bytes. */
template <typename T, int V> struct alignas(sizeof(T) * V > 16 ? 16 : sizeof(T) * V) elements { T x[V]; };
template <int V, typename T> DEVICE void load(const T *from, int64_t i, float *x) {
  elements<T, V> e = *(const elements<T, V> *)(from + i);
#pragma unroll
  for (int n = 0; n < V; n++)
    x[n] = to_float(e.x[n]);
}
template <int V, typename T> DEVICE void store(T *to, int64_t i, const float *x) {
  elements<T, V> e;
#pragma unroll
  for (int n = 0; n < V; n++)
    from_float(&e.x[n], x[n]);
  *(elements<T, V> *)(to + i) = e;
}

/* ---- host side: which types, which vectors */

/* Runs the statement with `type` float or bf16. */
#define WITH_TYPE(type, dtype, ...)                                                                                    \
  do {                                                                                                                 \
    if ((dtype) == DTYPE_BF16) {                                                                                       \
      typedef bf16 type;                                                                                               \
      __VA_ARGS__;                                                                                                     \
    } else {                                                                                                           \
      typedef float type;                                                                                              \
      __VA_ARGS__;                                                                                                     \
    }                                                                                                                  \
  } while (0)
/* Runs the statement with V `vector` or, where a row or a pointer is not made for that, 1. */
#define WITH_VECTOR(vector, fits, ...)                                                                                 \
  do {                                                                                                                 \
    if (fits) {                                                                                                        \
      constexpr int V = vector;                                                                                        \
      __VA_ARGS__;                                                                                                     \
    } else {                                                                                                           \
      constexpr int V = 1;                                                                                             \
      __VA_ARGS__;                                                                                                     \
    }                                                                                                                  \
  } while (0)

static inline bool aligned(void) {
  return true;
}
/* All pointers lie on 16 bytes; NULL does. */
template <typename P, typename... Rest> static inline bool aligned(const P *first, const Rest *...rest) {
  return (uintptr_t)first % 16 == 0 && aligned(rest...);
}

static inline unsigned blocks_for(int64_t items, int64_t per_block) {
  return (unsigned)((items + per_block - 1) / per_block);
}
/* For grid-stride loops: enough blocks to fill any device, the same number on each. */
static inline unsigned blocks_striding(int64_t items, int64_t per_block) {
  const int64_t blocks = (items + per_block - 1) / per_block;
  return (unsigned)(blocks < 4096 ? blocks : 4096);
}
#endif
