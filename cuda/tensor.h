/* Tensor-core instructions of compute capability 8.0 and their operands, each behind a thin function; the emulation has
 * the same functions (tests/emulation/tensor.h), so the kernels that use them run on the host, too.
 *
 * Operands of a product [16,8] += [16,16] . [16,8] lie over the lanes of a warp, with g = lane / 4 and t = lane % 4:
 *   a[0..3]: rows g, g+8, g, g+8; columns 2t, 2t+1 of the left, left, right, right half
 *   b[0..1]: column g; rows 2t, 2t+1 of the upper, the lower half      c[0..3]: rows g, g, g+8, g+8; columns 2t, 2t+1
 */
#ifndef MEMCLIP_CUDA_TENSOR_H
#define MEMCLIP_CUDA_TENSOR_H
#include "cuda/kernel.h"

#ifdef __CUDACC__
DEVICE void mma_bf16(float *c, const unsigned *a, const unsigned *b) {
  asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
               "{%0,%1,%2,%3};"
               : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
/* Four 8 x 8 matrices: lanes 8i .. 8i+7 give the rows of matrix i in shared memory (16 bytes each, aligned); each lane
 * receives in r[i] row g, columns 2t, 2t+1. Transposed: rows 2t, 2t+1 of column g. */
DEVICE void load_matrices(unsigned *r, const bf16 *row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"((unsigned)__cvta_generic_to_shared(row))
               : "memory");
}
DEVICE void load_matrices_transposed(unsigned *r, const bf16 *row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"((unsigned)__cvta_generic_to_shared(row))
               : "memory");
}
/* 16 bytes to shared memory, zeros when not `exists`; there after copy_wait, for all after a barrier behind it. */
DEVICE void copy_async(bf16 *to, const bf16 *from, bool exists) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"((unsigned)__cvta_generic_to_shared(to)), "l"(from),
               "r"(exists ? 16 : 0)
               : "memory");
}
DEVICE void copy_commit(void) {
  asm volatile("cp.async.commit_group;" ::: "memory");
}
/* All groups but the last PENDING have arrived. */
template <int PENDING> DEVICE void copy_wait(void) {
  asm volatile("cp.async.wait_group %0;" ::"n"(PENDING) : "memory");
}
#else
#include "emulation/tensor.h"
#endif
#endif
