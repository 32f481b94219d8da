/* A vocabulary file, gzip or plain; a caption encoded with it. */
#include "fuzz.h"
#include "data/tokenizer.h"

enum { CONTEXT = 16 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  struct fuzz_file file = fuzz_file_new(data, size);
  struct tokenizer *tokenizer;
  if (tokenizer_open(file.path, &tokenizer) == STATUS_OK) {
    struct tokenizer_scratch *scratch = tokenizer_scratch_new();
    struct text back = {0};
    int32_t ids[CONTEXT], end;
    tokenizer_encode(tokenizer, scratch, "the red cat's \xc3\xa9t\xc3\xa9", CONTEXT, ids, &end);
    for (int i = 0; i < CONTEXT; i++)
      fuzz_require(ids[i] >= 0 && ids[i] < tokenizer_vocabulary_size(tokenizer), "ids are of the vocabulary");
    tokenizer_decode(tokenizer, ids, CONTEXT, &back);
    text_release(&back);
    tokenizer_scratch_release(scratch);
    tokenizer_close(tokenizer);
  }
  fuzz_file_release(&file);
  return 0;
}
