#include "released.h"
#include <string.h>

/* The first row that fits counts. A tag that ends in '_' stands for all that begin so. */
static const struct {
  const char *tag, *model, *activation, *besides;
} table[] = {
    {"openai", "all sizes", "quickgelu", ""},
    {"laion400m_", "ViT-B-32", "quickgelu", "e31 and e32"},
    {"laion400m_", "ViT-B-16, ViT-B-16-plus-240, ViT-L-14", "gelu", ""},
    {"laion2b_s32b_b82k", "ViT-L-14", "gelu", "trained with image_mean=0.5,0.5,0.5 image_std=0.5,0.5,0.5"},
    {"laion2b_", "all other sizes", "gelu", ""},
    {"datacomp_", "all sizes", "gelu", ""},
    {"commonpool_", "all sizes", "gelu", ""},
    {"metaclip_altogether", "ViT-H-14", "gelu", ""},
    {"metaclip_", "ViT-B-32, ViT-B-16, ViT-L-14, ViT-H-14, ViT-bigG-14", "quickgelu", "400m and fullcc"},
    {"dfn2b_s39b", "ViT-L-14", "gelu", ""},
    {"dfn2b", "ViT-B-16, ViT-L-14", "quickgelu", ""},
    {"dfn5b", "ViT-H-14, ViT-H-14-378", "quickgelu", "images were squashed to the square, not cropped"},
};
enum { ROWS = sizeof table / sizeof *table };

void released_print(struct text *out) {
  text_append_format(out, "%-20s %-55s %-10s %s\n", "released as", "model", "activation", "besides");
  for (int i = 0; i < ROWS; i++)
    text_append_format(out, "%-20s %-55s %-10s %s\n", table[i].tag, table[i].model, table[i].activation,
                       table[i].besides);
}

void released_hint(const char *path, struct text *out) {
  const char *name = text_base_name(path);
  for (int i = 0; i < ROWS; i++) {
    if (!strstr(name, table[i].tag))
      continue;
    text_append_format(out, "; its name looks like the release '%s', of which %s has %s%s%s", table[i].tag,
                       table[i].model, table[i].activation, table[i].besides[0] ? ", " : "", table[i].besides);
    return;
  }
}
