/* CLIP's byte-pair tokenizer (contract section 3): cleaning, lower case, split by PCRE2, merges. Encoding is
 * thread-safe: one struct per vocabulary, one scratch per thread. */
#ifndef MEMCLIP_DATA_TOKENIZER_H
#define MEMCLIP_DATA_TOKENIZER_H
#include "base/error.h"
#include "base/text.h"
#include <stdint.h>
struct tokenizer;
struct tokenizer_scratch;
/* path: gzip or plain, in CLIP's format; "clip" is searched for in $MEMCLIP_DATA and PREFIX/share/memclip. */
enum status tokenizer_open(const char *path, struct tokenizer **tokenizer);
void tokenizer_close(struct tokenizer *tokenizer);
int32_t tokenizer_vocabulary_size(const struct tokenizer *tokenizer); /* 512 + merges + 2 */
int32_t
tokenizer_end_id(const struct tokenizer *tokenizer); /* end of text, the largest id; start of text is one less */
struct tokenizer_scratch *tokenizer_scratch_new(void);
void tokenizer_scratch_release(struct tokenizer_scratch *scratch);
/* ids[context_length], padded with 0, cut as open_clip does (last = end of text). Returns the number of ids before
 * cutting (start and end included), so > context_length means truncated; and in *end the position of the pooled token
 * (first occurrence of the largest id). */
int64_t tokenizer_encode(const struct tokenizer *tokenizer, struct tokenizer_scratch *scratch, const char *text,
                         int context_length, int32_t *ids, int32_t *end);
void tokenizer_decode(const struct tokenizer *tokenizer, const int32_t *ids, int64_t count, struct text *out);
/* Trains a vocabulary of `size` ids (512 + merges + 2) from lines of text and writes it gzipped in CLIP's format.
 * Deterministic. */
enum status vocabulary_train(const char *const *lines, int64_t count, int32_t size, const char *path);
#endif
