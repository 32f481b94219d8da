/* Tensor-core instructions and asynchronous copies of the emulation; cuda/tensor.h says what they do. */
#ifndef MEMCLIP_TESTS_EMULATION_TENSOR_H
#define MEMCLIP_TESTS_EMULATION_TENSOR_H
#include "cuda/kernel.h"

DEVICE float emulation_half(unsigned pair, int which) {
  return float_of_bits(which ? pair & 0xffff0000u : pair << 16);
}

struct emulation_fragment {
  unsigned a[4], b[2];
};
/* Element (row, k) of a and (k, column) of b, from the lanes that hold them. */
DEVICE float emulation_a(const char *slots, int row, int k) {
  const struct emulation_fragment f = emulation_lane_value<struct emulation_fragment>(slots, row % 8 * 4 + k % 8 / 2);
  return emulation_half(f.a[row / 8 + k / 8 * 2], k % 2);
}
DEVICE float emulation_b(const char *slots, int k, int column) {
  const struct emulation_fragment f = emulation_lane_value<struct emulation_fragment>(slots, column * 4 + k % 8 / 2);
  return emulation_half(f.b[k / 8], k % 2);
}
DEVICE void mma_bf16(float *c, const unsigned *a, const unsigned *b) {
  const struct emulation_fragment mine = {{a[0], a[1], a[2], a[3]}, {b[0], b[1]}};
  const char *slots = emulation_exchange("mma", &mine, sizeof mine);
  const int lane = (int)(threadIdx.x % 32);
  for (int i = 0; i < 4; i++)
    for (int k = 0; k < 16; k++)
      c[i] += emulation_a(slots, lane / 4 + i / 2 * 8, k) * emulation_b(slots, k, lane % 4 * 2 + i % 2);
}

/* Shared memory is read when all lanes have come. */
DEVICE void emulation_load_matrices(unsigned *r, const bf16 *row, bool transposed) {
  if ((uintptr_t)row % 16)
    emulation_stop("a matrix row that is not aligned to 16 bytes");
  const char *slots = emulation_exchange(transposed ? "ldmatrix.trans" : "ldmatrix", &row, sizeof row);
  const int lane = (int)(threadIdx.x % 32), g = lane / 4, t = lane % 4;
  for (int i = 0; i < 4; i++) {
    bf16 pair[2];
    for (int n = 0; n < 2; n++) {
      const int from = transposed ? 2 * t + n : g, column = transposed ? g : 2 * t + n;
      pair[n] = emulation_lane_value<const bf16 *>(slots, 8 * i + from)[column];
    }
    r[i] = (unsigned)pair[1] << 16 | pair[0];
  }
}
DEVICE void load_matrices(unsigned *r, const bf16 *row) {
  emulation_load_matrices(r, row, false);
}
DEVICE void load_matrices_transposed(unsigned *r, const bf16 *row) {
  emulation_load_matrices(r, row, true);
}

/* Done at the wait, so that a missing one leaves NaN behind. */
DEVICE void copy_async(bf16 *to, const bf16 *from, bool exists) {
  emulation_copy_async(to, from, exists);
}
DEVICE void copy_commit(void) {
  emulation_copy_commit();
}
template <int PENDING> void copy_wait(void) {
  emulation_copy_wait(PENDING);
}
#endif
