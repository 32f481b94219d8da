/* Forms of a caption. */
#ifndef MEMCLIP_DATA_CAPTION_H
#define MEMCLIP_DATA_CAPTION_H
#include "base/text.h"
/* Cuts the caption to its first sentence: up to, not including, the first "." (methods 3.1); without one it stays whole. */
void caption_shorten(struct text *caption);
#endif
