/* A caption: cleaned, cut into pieces, encoded, decoded. The vocabulary is that of single bytes. */
#include "fuzz.h"
#include "base/error.h"
#include "base/memory.h"
#include "data/text_clean.h"
#include "data/tokenizer.h"
#include <string.h>

enum { CONTEXT = 77 };
static const char vocabulary[] = "#version\nt h\nth e</w>\ni n\na n\n\xc3\x83 \xc2\xa9</w>\n\xc4\xa0 a\nin g</w>\n";

static struct tokenizer *open_vocabulary(void) {
  struct tokenizer *tokenizer;
  struct fuzz_file file = fuzz_file_new(vocabulary, sizeof vocabulary - 1);
  if (tokenizer_open(file.path, &tokenizer) != STATUS_OK)
    fatal("%s", error_message());
  fuzz_file_release(&file);
  return tokenizer;
}

static void encode(const char *caption) {
  static struct tokenizer *tokenizer;
  if (!tokenizer)
    tokenizer = open_vocabulary();
  struct tokenizer_scratch *scratch = tokenizer_scratch_new();
  struct text back = {0};
  int32_t ids[CONTEXT], end;
  const int64_t count = tokenizer_encode(tokenizer, scratch, caption, CONTEXT, ids, &end);
  fuzz_require(count >= 2 && end >= 1 && end < CONTEXT, "a caption has a start and an end");
  for (int i = 0; i < CONTEXT; i++)
    fuzz_require(ids[i] >= 0 && ids[i] < tokenizer_vocabulary_size(tokenizer), "ids are of the vocabulary");
  tokenizer_decode(tokenizer, ids, CONTEXT, &back);
  fuzz_require(text_is_utf8(back.data, back.length), "decoded text is UTF-8");
  text_release(&back);
  tokenizer_scratch_release(scratch);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  struct text caption = {0}, clean = {0};
  text_append(&caption, (const char *)data, size);
  text_clean(caption.data, caption.length, &clean);
  fuzz_require(text_is_utf8(clean.data, clean.length), "cleaned text is UTF-8");
  encode(caption.data);
  text_release(&caption);
  text_release(&clean);
  return 0;
}
