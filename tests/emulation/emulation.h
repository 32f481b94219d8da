/* CUDA's execution model on the host, for kernels written with cuda/kernel.h: one fiber per thread, one block at a
 * time. A lane runs until a warp operation or a block barrier; a warp runs until the barrier; then the next. Every
 * launch runs twice, the second time with blocks, warps and lanes in reverse order, and must leave the same bits: a
 * missing barrier or a race between blocks shows so. It stops with a message when lanes of a warp are in different
 * operations or have ended, and when a barrier is not reached by all threads. Shared memory starts as NaN; device
 * memory lies before a guard page and cannot be touched between launches.
 *
 * Not covered: the memory order of a GPU, bank conflicts, contraction to fused multiply-adds, approximate functions. */
#ifndef MEMCLIP_TESTS_EMULATION_H
#define MEMCLIP_TESTS_EMULATION_H
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <functional>
#include <string.h>
#include <tuple>

struct dim3 {
  unsigned x, y, z;
  dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {
  }
};
extern dim3 threadIdx, blockIdx, blockDim, gridDim;
struct uint4 {
  unsigned x, y, z, w;
};

#define DEVICE [[maybe_unused]] static inline
#define KERNEL [[maybe_unused]] static
#define KERNEL_THREADS(threads, blocks) [[maybe_unused]] static
#define __restrict__ __restrict
#define SHARED(type, name, count)                                                                                      \
  static const char name##_site_ = 0;                                                                                  \
  type *name = (type *)emulation_shared(&name##_site_, sizeof(type) * (count))
#define SHARED_DYNAMIC(type, name) type *name = (type *)emulation_shared_dynamic()
#define LAUNCH(kernel, blocks, threads, shared_bytes, cuda, ...)                                                       \
  ((void)(cuda), emulation_launch(#kernel, blocks, threads, shared_bytes, kernel, __VA_ARGS__))

void emulation_run(const char *kernel, dim3 blocks, unsigned threads, size_t shared_bytes, void (*body)(void *context),
                   void *context);
/* Now, or whenever the graph runs that is being recorded: with the arguments that it has now. */
void emulation_enqueue(const std::function<void()> &call);
template <typename... P, typename... A>
static void emulation_launch(const char *name, dim3 blocks, unsigned threads, size_t shared_bytes, void (*kernel)(P...),
                             A... arguments) {
  typedef std::tuple<std::decay_t<P>...> kept_arguments;
  struct launch {
    void (*kernel)(P...);
    kept_arguments arguments;
  };
  const struct launch kept = {kernel, kept_arguments(arguments...)};
  emulation_enqueue([=] {
    struct launch own = kept;
    emulation_run(
        name, blocks, threads, shared_bytes,
        [](void *context) { std::apply(((struct launch *)context)->kernel, ((struct launch *)context)->arguments); },
        &own);
  });
}

/* Shared memory of the running block, the same for every thread that comes with the same site. */
void *emulation_shared(const void *site, size_t bytes);
void *emulation_shared_dynamic(void);

/* What the 32 lanes brought to a warp operation, SLOT bytes apart; returns when all have. `operation` must be the same
 * in all. The result stays until the lane's next but one operation. */
enum { EMULATION_SLOT = 64 };
const char *emulation_exchange(const char *operation, const void *mine, size_t bytes);
void block_barrier(void);
[[noreturn]] void emulation_stop(const char *why);

/* Asynchronous copies of 16 bytes: groups in flight, by thread. */
void emulation_copy_async(void *to, const void *from, bool exists);
void emulation_copy_commit(void);
void emulation_copy_wait(unsigned pending);

DEVICE void warp_barrier(void) {
  char nothing = 0;
  emulation_exchange("warp_barrier", &nothing, 1);
}
template <typename V> V emulation_lane_value(const char *slots, int lane) {
  V value;
  memcpy(&value, slots + lane * EMULATION_SLOT, sizeof value);
  return value;
}
template <typename V> V shuffle(V value, int lane) {
  return emulation_lane_value<V>(emulation_exchange("shuffle", &value, sizeof value), lane & 31);
}
template <typename V> V shuffle_xor(V value, int mask) {
  const char *slots = emulation_exchange("shuffle_xor", &value, sizeof value);
  return emulation_lane_value<V>(slots, (int)(threadIdx.x % 32) ^ mask);
}
DEVICE unsigned warp_ballot(bool yes) {
  const char *slots = emulation_exchange("warp_ballot", &yes, sizeof yes);
  unsigned bits = 0;
  for (int lane = 0; lane < 32; lane++)
    bits |= (unsigned)emulation_lane_value<bool>(slots, lane) << lane;
  return bits;
}
DEVICE int count_bits(unsigned bits) {
  return __builtin_popcount(bits);
}
DEVICE unsigned float_bits(float x) {
  unsigned bits;
  memcpy(&bits, &x, sizeof bits);
  return bits;
}
DEVICE float float_of_bits(unsigned bits) {
  float x;
  memcpy(&x, &bits, sizeof x);
  return x;
}
DEVICE float fast_exp2(float x) {
  return exp2f(x);
}
DEVICE float fast_inverse(float x) {
  return 1 / x;
}
DEVICE void emulation_check_aligned(const void *pointer, int words) {
  if ((uintptr_t)pointer % (unsigned)(4 * (words < 4 ? words : 4)))
    emulation_stop("a vector that is not aligned to its size");
}
template <int WORDS> void load_words(unsigned *words, const void *from) {
  static_assert(WORDS == 1 || WORDS == 2 || WORDS % 4 == 0, "words that CUDA moves as one");
  emulation_check_aligned(from, WORDS);
  memcpy(words, from, WORDS * sizeof *words);
}
template <int WORDS> void store_words(void *to, const unsigned *words) {
  static_assert(WORDS == 1 || WORDS == 2 || WORDS % 4 == 0, "words that CUDA moves as one");
  emulation_check_aligned(to, WORDS);
  memcpy(to, words, WORDS * sizeof *words);
}
DEVICE unsigned emulation_bf16(float x) {
  const unsigned bits = float_bits(x);
  return (bits & 0x7fffffffu) > 0x7f800000u ? 0x7fffu : (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
}
DEVICE unsigned pack_bf16(float low, float high) {
  return emulation_bf16(high) << 16 | emulation_bf16(low);
}
/* exp(x^2) erfc(x) for x >= 0, which CUDA has */
DEVICE float erfcxf(float x) {
  double y = x;
  return (float)(y < 20 ? exp(y * y) * erfc(y) : (1 - 0.5 / (y * y)) / (y * 1.7724538509055160273));
}

/* Device memory. Copies by the host go through emulation_open_memory and emulation_close_memory. */
void *emulation_allocate(size_t bytes, const char *label);
void emulation_release(void *block);
void emulation_open_memory(void);
void emulation_close_memory(void);
#endif
