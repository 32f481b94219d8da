/* Where numbers computed by the peers lie: $MEMCLIP_REFERENCE, or ../shared/reference beside the source tree. Tests
 * that want them skip by name without them. */
#ifndef MEMCLIP_TESTS_REFERENCE_H
#define MEMCLIP_TESTS_REFERENCE_H
#include "base/file.h"
#include "base/memory.h"
#include "base/text.h"
#include <stdlib.h>

/* Path of a file there (memory_release), or NULL when it is absent. */
static inline char *reference_path(const char *name) {
  const char *folder = getenv("MEMCLIP_REFERENCE"), *source = getenv("top_srcdir");
  char *path = folder && folder[0] ? text_join_path(folder, name)
                                   : text_format("%s/../shared/reference/%s", source ? source : ".", name);
  if (file_exists(path))
    return path;
  memory_release(path);
  return NULL;
}
#endif
