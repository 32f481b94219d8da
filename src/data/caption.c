#include "data/caption.h"
#include <string.h>

void caption_shorten(struct text *caption) {
  char *stop = caption->data ? memchr(caption->data, '.', caption->length) : NULL;
  if (!stop)
    return;
  *stop = '\0';
  caption->length = (size_t)(stop - caption->data);
}
