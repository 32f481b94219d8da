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
/* 2^x and 1/x, within two units; results below 2^-126 are 0. */
DEVICE float fast_exp2(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}
DEVICE float fast_inverse(float x) {
  float y;
  asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}
/* Two bf16, the first in the low half. */
DEVICE unsigned pack_bf16(float low, float high) {
  unsigned pair;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
  return pair;
}
/* WORDS words of 4 bytes, 1, 2 or a multiple of 4, in pieces of at most 16 bytes. */
template <int WORDS> DEVICE void load_words(unsigned *words, const void *from) {
  if constexpr (WORDS == 1) {
    words[0] = *(const unsigned *)from;
  } else if constexpr (WORDS == 2) {
    const uint2 pair = *(const uint2 *)from;
    words[0] = pair.x, words[1] = pair.y;
  } else {
#pragma unroll
    for (int n = 0; n < WORDS; n += 4) {
      const uint4 four = ((const uint4 *)from)[n / 4];
      words[n] = four.x, words[n + 1] = four.y, words[n + 2] = four.z, words[n + 3] = four.w;
    }
  }
}
/* To global memory; in assembler, since the compiler splits a plain assignment of a vector when it finds a reason to.
 */
template <int WORDS> DEVICE void store_words(void *to, const unsigned *words) {
  const size_t address = __cvta_generic_to_global(to);
  if constexpr (WORDS == 1)
    *(unsigned *)to = words[0];
  else if constexpr (WORDS == 2)
    asm volatile("st.global.v2.b32 [%0], {%1,%2};" ::"l"(address), "r"(words[0]), "r"(words[1]) : "memory");
  else
#pragma unroll
    for (int n = 0; n < WORDS; n += 4)
      asm volatile("st.global.v4.b32 [%0], {%1,%2,%3,%4};" ::"l"(address + 4 * (size_t)n), "r"(words[n]),
                   "r"(words[n + 1]), "r"(words[n + 2]), "r"(words[n + 3])
                   : "memory");
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
  *to = (bf16)pack_bf16(x, 0);
}
/* The value that a T can hold. */
template <typename T> DEVICE float rounded(float x) {
  T element;
  from_float(&element, x);
  return to_float(element);
}

/* V neighbouring elements, 1 or an even number, which lie on 16 bytes or, where they have fewer, on as many as they
 * have. They are moved as words, 16 bytes at a time: an assignment of a struct is free to become a store per element.
 */
template <int V> DEVICE void load(const float *from, int64_t i, float *x) {
  unsigned words[V];
  load_words<V>(words, from + i);
#pragma unroll
  for (int n = 0; n < V; n++)
    x[n] = float_of_bits(words[n]);
}
template <int V> DEVICE void load(const bf16 *from, int64_t i, float *x) {
  if constexpr (V == 1) {
    *x = to_float(from[i]);
  } else {
    unsigned pairs[V / 2];
    load_words<V / 2>(pairs, from + i);
#pragma unroll
    for (int n = 0; n < V; n += 2) {
      x[n] = float_of_bits(pairs[n / 2] << 16);
      x[n + 1] = float_of_bits(pairs[n / 2] & 0xffff0000u);
    }
  }
}
template <int V> DEVICE void store(float *to, int64_t i, const float *x) {
  unsigned words[V];
#pragma unroll
  for (int n = 0; n < V; n++)
    words[n] = float_bits(x[n]);
  store_words<V>(to + i, words);
}
template <int V> DEVICE void store(bf16 *to, int64_t i, const float *x) {
  if constexpr (V == 1) {
    from_float(to + i, *x);
  } else {
    unsigned pairs[V / 2];
#pragma unroll
    for (int n = 0; n < V; n += 2)
      pairs[n / 2] = pack_bf16(x[n], x[n + 1]);
    store_words<V / 2>(to + i, pairs);
  }
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
