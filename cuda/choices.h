/* The choices of matrix products: which algorithm multiplies which shape. One is made where a shape is first seen
 * (gemm.cu times what the library proposes), and taken over by other ranks and later runs as text. */
#ifndef MEMCLIP_CUDA_CHOICES_H
#define MEMCLIP_CUDA_CHOICES_H
#include "cuda/gemm.h"

/* What a choice depends on. A matrix's alignment is that of its first element, in every product of a batch, in bytes,
 * at most 256; the bias's is 0 where there is none. */
enum choice_field {
  CHOICE_M,
  CHOICE_N,
  CHOICE_K,
  CHOICE_BATCH,
  CHOICE_A_STRIDE,
  CHOICE_B_STRIDE,
  CHOICE_C_STRIDE,
  CHOICE_A_BATCH,
  CHOICE_B_BATCH,
  CHOICE_C_BATCH,
  CHOICE_BITS,
  CHOICE_C_BITS,
  CHOICE_A_TRANSPOSED,
  CHOICE_B_TRANSPOSED,
  CHOICE_ACCUMULATE,
  CHOICE_A_ALIGNMENT,
  CHOICE_B_ALIGNMENT,
  CHOICE_C_ALIGNMENT,
  CHOICE_BIAS_ALIGNMENT,
  CHOICE_FIELDS
};
struct choice_key {
  int64_t of[CHOICE_FIELDS];
};
enum { CHOICE_WORDS = 8 };
struct choice {
  struct choice_key key;
  uint64_t algorithm[CHOICE_WORDS]; /* in the library's own words */
  double microseconds;              /* of the product when it was chosen */
  void *plan;                       /* what gemm.cu made for it, or NULL */
  struct choice *next_in_bucket;
};

/* No algorithm of the library: gemm_plain.cu. */
void choice_make_plain(struct choice *choice);
bool choice_is_plain(const struct choice *choice);

struct choice_key choice_key_of(const struct gemm *call);
static inline enum dtype choice_dtype(const struct choice_key *key, enum choice_field bits) {
  return key->of[bits] == 16 ? DTYPE_BF16 : DTYPE_F32;
}
/* NULL when there is none. */
struct choice *choices_find(struct cuda_device *cuda, const struct choice_key *key);
/* A choice without algorithm and plan, to be filled. */
struct choice *choices_add(struct cuda_device *cuda, const struct choice_key *key);

void choices_open(struct cuda_device *cuda);
void choices_close(struct cuda_device *cuda);
extern const struct device_choices *const cuda_choices;

/* What the platform says: gemm.cu with cuBLASLt, tests/emulation/ without. */
/* What algorithms are words of: library, version, kind of GPU; one line of at most 255 characters. */
void choices_identify(struct cuda_device *cuda, char text[256]);
/* Whether the library still takes this algorithm for this shape. */
bool choices_accept(struct cuda_device *cuda, const struct choice *choice);
void choices_drop_plan(struct choice *choice);
#endif
